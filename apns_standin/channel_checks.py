"""Every check the stand-in makes of requests about broadcast channels: their management, and pushes to them.

Sources: Apple's "Sending channel management requests to APNs", "Sending broadcast push notification requests to APNs"
and "Handling error responses from Apple Push Notification service", whose descriptions of the reasons say what is
checked. Their order is not documented; it is that of `checks`: headers, credential, then what is meant. [ours]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from . import checks
from .channels import StandInChannels, is_channel_id
from .checks import Request, Situation
from .push_types import PUSH_TYPES
from .reasons import Rejection

BROADCAST_PREFIX = "/4/broadcasts/apps/"
MAX_BROADCAST_BYTES = 5120
_MANAGEMENT_PATH = re.compile(r"/1/apps/(?P<bundle_id>[A-Za-z0-9.-]{1,155})/(?P<of>channels|all-channels)")
_BROADCAST_PATH = re.compile(r"/4/broadcasts/apps/(?P<bundle_id>[A-Za-z0-9.-]{1,155})")
_METHODS = {"channels": ("POST", "GET", "DELETE"), "all-channels": ("GET",)}
_ATTRIBUTES = {"message-storage-policy", "push-type"}
_PUSH_TYPE = "liveactivity"


class ChannelSituation(Situation):
    """What a request about channels is judged against."""

    channels: StandInChannels


Check = Callable[[Request, ChannelSituation], Rejection | None]


def bundle_of(request: Request) -> str:
    """The app that the path names; "" where it names none."""
    match = _MANAGEMENT_PATH.fullmatch(request.path) or _BROADCAST_PATH.fullmatch(request.path)
    return match["bundle_id"] if match else ""


def is_list(request: Request) -> bool:
    """Whether all channels of an app are asked for."""
    return request.path.endswith("/all-channels")


# -- the request line and the headers --


def management_path(request: Request, _: ChannelSituation) -> Rejection | None:
    """The path is `/1/apps/<bundle id>/channels` or `…/all-channels`, and the method one of its."""
    match = _MANAGEMENT_PATH.fullmatch(request.path)
    if match is None:
        return Rejection("BadPath")
    return None if request.method in _METHODS[match["of"]] else Rejection("MethodNotAllowed")


def broadcast_path(request: Request, _: ChannelSituation) -> Rejection | None:
    """The path is `/4/broadcasts/apps/<bundle id>`, and the method POST."""
    if _BROADCAST_PATH.fullmatch(request.path) is None:
        return Rejection("BadPath")
    return None if request.method == "POST" else Rejection("MethodNotAllowed")


def request_id(request: Request, _: ChannelSituation) -> Rejection | None:
    """`apns-request-id` is a UUID in its 8-4-4-4-12 form."""
    value = request.headers.get("apns-request-id")
    return None if value is None or checks.UUID_FORM.fullmatch(value) else Rejection("BadMessageId")


def topic_plain(request: Request, situation: ChannelSituation) -> Rejection | None:
    """No suffix of a push type stands behind the bundle identifier."""
    bundle_id = bundle_of(request)
    if situation.registry.team_of(bundle_id) is not None:
        return None
    suffixed = any(one.suffix and bundle_id.endswith(one.suffix) for one in PUSH_TYPES.values())
    return Rejection("TopicDisallowed") if suffixed else None


def topic_matches(request: Request, situation: ChannelSituation) -> Rejection | None:
    """The app is the certificate's, or of the token's team."""
    bundle_id, certificate = bundle_of(request), situation.peer.certificate
    if certificate is not None:
        return None if certificate.bundle_id == bundle_id else Rejection("TopicMismatch")
    token = situation.provider_token
    owner = situation.registry.team_of(bundle_id)
    return None if token is not None and owner == token.team_id else Rejection("TopicMismatch")


# -- the channel --


def channel_id(request: Request, _: ChannelSituation) -> Rejection | None:
    """`apns-channel-id` is there, and base64."""
    value = request.headers.get("apns-channel-id")
    if not value:
        return Rejection("MissingChannelId")
    return None if is_channel_id(value) else Rejection("BadChannelId")


def channel_registered(request: Request, situation: ChannelSituation) -> Rejection | None:
    """There is such a channel of that app in this environment."""
    wanted = request.headers["apns-channel-id"]
    found = situation.channels.find(situation.environment, bundle_of(request), wanted)
    return None if found is not None else Rejection("ChannelNotRegistered")


# -- a new channel --


def configuration(request: Request, _: ChannelSituation) -> Rejection | None:
    """The body is a JSON object with the two attributes, and nothing else."""
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
    """The app has fewer than 10,000 channels in this environment."""
    full = situation.channels.is_full(situation.environment, bundle_of(request))
    return Rejection("CannotCreateChannelConfig") if full else None


# -- a push to a channel --


def push_type(request: Request, _: ChannelSituation) -> Rejection | None:
    """`apns-push-type` is there, and `liveactivity`. (Apple's text writes it in three ways.)"""
    value = request.headers.get("apns-push-type")
    if not value:
        return Rejection("MissingPushType")
    return None if value.lower() == _PUSH_TYPE else Rejection("InvalidPushType")


def expiration(request: Request, situation: ChannelSituation) -> Rejection | None:
    """`apns-expiration` is there, in epoch seconds; it is 0 for a channel that stores nothing."""
    if "apns-expiration" not in request.headers:
        return Rejection("BadExpirationDate")
    rejection = checks.expiration(request, situation)
    if rejection is not None:
        return rejection
    wanted = request.headers["apns-channel-id"]
    channel = situation.channels.find(situation.environment, bundle_of(request), wanted)
    stores = channel is None or channel.message_storage
    return None if stores or int(request.headers["apns-expiration"]) == 0 else Rejection("BadExpirationDate")


def priority(request: Request, situation: ChannelSituation) -> Rejection | None:
    """`apns-priority` is there, and 1, 5 or 10."""
    if "apns-priority" not in request.headers:
        return Rejection("BadPriority")
    return checks.priority(request, situation)


def payload(request: Request, _: ChannelSituation) -> Rejection | None:
    """The body is a JSON object of at most 5120 bytes."""
    if not request.body_size:
        return Rejection("PayloadEmpty")
    if request.body_size > MAX_BROADCAST_BYTES:
        return Rejection("PayloadTooLarge")
    return None if read_object(request.body) is not None else Rejection("PayloadEmpty")


def read_object(body: bytes) -> dict[str, Any] | None:
    """The body as a JSON object; None if it is none."""
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


def judge(rows: Sequence[Check], request: Request, situation: ChannelSituation) -> Rejection | None:
    """The answer of the first check that objects; None when the request is accepted."""
    for check in rows:
        rejection = check(request, situation)
        if rejection is not None:
            return rejection
    return None
