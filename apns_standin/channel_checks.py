"""Checks of requests about broadcast channels: their management, and pushes to them.

Sources: Apple's "Sending channel management requests to APNs", "Sending broadcast push notification requests to APNs"
and "Handling error responses from Apple Push Notification service"; its descriptions of the reasons name the checks.
Apple documents no order. The order here is that of `checks`: headers, credential, channel and body. [ours]
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from . import checks
from .channels import StandInChannels, is_channel_id
from .checks import Request, Situation
from .push_types import PUSH_TYPES
from .reasons import Rejection

BROADCAST_PREFIX: Final = "/4/broadcasts/apps/"
MAX_BROADCAST_BYTES: Final = 5120
_MANAGEMENT_PATH: Final = re.compile(
    r"/1/apps/(?P<bundle_id>[A-Za-z0-9.-]{1,155})/(?P<of>channels|all-channels)"
)
_BROADCAST_PATH: Final = re.compile(r"/4/broadcasts/apps/(?P<bundle_id>[A-Za-z0-9.-]{1,155})")
_METHODS: Final = {"channels": ("POST", "GET", "DELETE"), "all-channels": ("GET",)}
_ATTRIBUTES: Final = {"message-storage-policy", "push-type"}
_PUSH_TYPE: Final = "liveactivity"


class ChannelSituation(Situation):
    """The circumstances of a request about channels."""

    channels: StandInChannels


Check = Callable[[Request, ChannelSituation], Rejection | None]


def bundle_of(request: Request) -> str:
    """Return the bundle identifier in the path; "" if the path has none."""
    match = _MANAGEMENT_PATH.fullmatch(request.path) or _BROADCAST_PATH.fullmatch(request.path)
    return match["bundle_id"] if match else ""


def is_list(request: Request) -> bool:
    """Return True if the request asks for all channels of an app."""
    return request.path.endswith("/all-channels")


# -- the request line and the headers --


def management_path(request: Request, _: ChannelSituation) -> Rejection | None:
    """Require the path `/1/apps/<bundle id>/channels` or `…/all-channels`, and a method that it supports."""
    match = _MANAGEMENT_PATH.fullmatch(request.path)
    if match is None:
        return Rejection("BadPath")
    return None if request.method in _METHODS[match["of"]] else Rejection("MethodNotAllowed")


def broadcast_path(request: Request, _: ChannelSituation) -> Rejection | None:
    """Require the path `/4/broadcasts/apps/<bundle id>` and the method POST."""
    if _BROADCAST_PATH.fullmatch(request.path) is None:
        return Rejection("BadPath")
    return None if request.method == "POST" else Rejection("MethodNotAllowed")


def request_id(request: Request, _: ChannelSituation) -> Rejection | None:
    """Require that `apns-request-id` is absent or a UUID in its 8-4-4-4-12 form."""
    value = request.headers.get("apns-request-id")
    return None if value is None or checks.UUID_FORM.fullmatch(value) else Rejection("BadMessageId")


def topic_plain(request: Request, situation: ChannelSituation) -> Rejection | None:
    """Refuse a bundle identifier that ends with a push type's suffix, unless it is registered."""
    bundle_id = bundle_of(request)
    if situation.registry.team_of(bundle_id) is not None:
        return None
    suffixed = any(rule.suffix and bundle_id.endswith(rule.suffix) for rule in PUSH_TYPES.values())
    return Rejection("TopicDisallowed") if suffixed else None


def topic_matches(request: Request, situation: ChannelSituation) -> Rejection | None:
    """Require the certificate's app, or an app of the provider token's team."""
    bundle_id, certificate = bundle_of(request), situation.peer.certificate
    if certificate is not None:
        return None if certificate.bundle_id == bundle_id else Rejection("TopicMismatch")
    token = situation.provider_token
    owner = situation.registry.team_of(bundle_id)
    return None if token is not None and owner == token.team_id else Rejection("TopicMismatch")


# -- the channel --


def channel_id(request: Request, _: ChannelSituation) -> Rejection | None:
    """Require `apns-channel-id`, in base64."""
    value = request.headers.get("apns-channel-id")
    if not value:
        return Rejection("MissingChannelId")
    return None if is_channel_id(value) else Rejection("BadChannelId")


def channel_registered(request: Request, situation: ChannelSituation) -> Rejection | None:
    """Require a registered channel of that app in this environment."""
    identifier = request.headers["apns-channel-id"]
    channel = situation.channels.find(situation.environment, bundle_of(request), identifier)
    return None if channel is not None else Rejection("ChannelNotRegistered")


# -- a new channel --


def configuration(request: Request, _: ChannelSituation) -> Rejection | None:
    """Require a JSON object with exactly the two attributes of a channel."""
    document = read_object(request.body)
    if document is None:
        return Rejection("BadRequestPayload")
    policy = document.get("message-storage-policy")
    if document.keys() != _ATTRIBUTES or isinstance(policy, bool) or policy not in (0, 1):
        return Rejection("BadRequestParams")
    if document["push-type"] != "LiveActivity":
        return Rejection("InvalidPushType")
    return None


def room(request: Request, situation: ChannelSituation) -> Rejection | None:
    """Refuse a channel above the app's limit in this environment (Apple's is 10,000)."""
    full = situation.channels.is_full(situation.environment, bundle_of(request))
    return Rejection("CannotCreateChannelConfig") if full else None


# -- a push to a channel --


def push_type(request: Request, _: ChannelSituation) -> Rejection | None:
    """Require `apns-push-type` liveactivity, in any case: Apple's text spells it in three ways."""
    value = request.headers.get("apns-push-type")
    if not value:
        return Rejection("MissingPushType")
    return None if value.lower() == _PUSH_TYPE else Rejection("InvalidPushType")


def expiration(request: Request, situation: ChannelSituation) -> Rejection | None:
    """Require `apns-expiration` in epoch seconds; 0 for a channel that stores nothing."""
    if "apns-expiration" not in request.headers:
        return Rejection("BadExpirationDate")
    rejection = checks.expiration(request, situation)
    if rejection is not None:
        return rejection
    identifier = request.headers["apns-channel-id"]
    channel = situation.channels.find(situation.environment, bundle_of(request), identifier)
    stores = channel is None or channel.message_storage
    return None if stores or int(request.headers["apns-expiration"]) == 0 else Rejection("BadExpirationDate")


def priority(request: Request, situation: ChannelSituation) -> Rejection | None:
    """Require `apns-priority` 1, 5 or 10."""
    if "apns-priority" not in request.headers:
        return Rejection("BadPriority")
    return checks.priority(request, situation)


def payload(request: Request, _: ChannelSituation) -> Rejection | None:
    """Require a JSON object of at most 5120 bytes."""
    if not request.body_size:
        return Rejection("PayloadEmpty")
    if request.body_size > MAX_BROADCAST_BYTES:
        return Rejection("PayloadTooLarge")
    return None if read_object(request.body) is not None else Rejection("PayloadEmpty")


def read_object(body: bytes) -> dict[str, Any] | None:
    """Return the body as a JSON object; None if it is none."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_CREDENTIAL: tuple[Check, ...] = (
    checks.provider_token_present,
    checks.provider_token_valid,
    checks.one_team_per_connection,
    checks.provider_token_age,
    checks.key_environment,
    checks.key_related,
    checks.provider_token_updates,
    checks.certificate_environment,
    topic_plain,
    topic_matches,
)
_HEADERS: tuple[Check, ...] = (checks.duplicate_headers, request_id)
CREATE: tuple[Check, ...] = (management_path, *_HEADERS, *_CREDENTIAL, configuration, room)
ONE_CHANNEL: tuple[Check, ...] = (
    management_path,
    *_HEADERS,
    *_CREDENTIAL,
    channel_id,
    channel_registered,
)
ALL_CHANNELS: tuple[Check, ...] = (management_path, *_HEADERS, *_CREDENTIAL)
BROADCAST: tuple[Check, ...] = (
    broadcast_path,
    *_HEADERS,
    *_CREDENTIAL,
    channel_id,
    push_type,
    priority,
    channel_registered,
    expiration,
    payload,
)
