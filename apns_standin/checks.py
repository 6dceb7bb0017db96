"""Checks of a push request, in the order of APNs.

`CHECKS` lists them all: the first check that returns a rejection decides the answer. The order and most rules are those
of Pushy's mock server, the best-tested imitation of Apple's, with one exception: the sender is checked before the
device token, as Apple does, so that a stranger does not learn which device tokens exist. Other rules come from
APNSwift's test server. Rules marked [ours] follow Apple's list of reasons or reports about the real servers.

Each check is a pure function of the request and its situation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from .certificates import ClientCertificate
from .provider_tokens import ReceivedProviderToken
from .push_types import PUSH_TYPES, type_of_topic
from .reasons import Rejection
from .registry import Environment, StandInRegistry

PATH_PREFIX: Final = "/3/device/"
PROVIDER_TOKEN_SECONDS: Final = 3600
CLOCK_SKEW_SECONDS: Final = 5
"""How far a sender's clock may be ahead. Apple does not document its tolerance. [ours]"""
MAX_COLLAPSE_ID_BYTES: Final = 64

UUID_FORM: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DEVICE_TOKEN: Final = re.compile(r"[0-9a-fA-F]{64}")
_EXPIRATION: Final = re.compile(r"[0-9]{1,18}")
_BEARER: Final = re.compile(r"bearer +(\S.*)", re.IGNORECASE)


class Request(msgspec.Struct):
    """A push request.

    `headers` holds no pseudo-headers, and the last value of a repeated header. `body` may be cut off after the largest
    allowed payload; `body_size` is the full length in bytes.
    """

    method: str
    path: str
    headers: dict[str, str]
    repeated_headers: bool
    body: bytes
    body_size: int

    @property
    def device_token(self) -> str:
        """The path after `/3/device/` in lower case; it may be no device token."""
        return self.path[len(PATH_PREFIX) :].lower() if self.path.startswith(PATH_PREFIX) else ""

    @property
    def bearer(self) -> str | None:
        """The JWT of the authorization header, or None."""
        match = _BEARER.fullmatch(self.headers.get("authorization", ""))
        return match[1].strip() if match else None

    @property
    def push_type(self) -> str:
        """The value of `apns-push-type`; without that header, the push type of the topic."""
        stated = self.headers.get("apns-push-type")
        return stated or type_of_topic(self.headers.get("apns-topic", "")) or "alert"


class Peer(msgspec.Struct):
    """The provider at the other end of a connection.

    `token` is the provider token last accepted: it binds the connection to its team and its kind of key.
    `issued_at` maps each key to the `iat` of the newest provider token accepted on this connection.
    """

    certificate: ClientCertificate | None = None
    token: ReceivedProviderToken | None = None
    issued_at: dict[str, float] = msgspec.field(default_factory=dict)

    def bind(self, token: ReceivedProviderToken) -> None:
        """Bind the connection to the provider token of an accepted request."""
        self.token = token
        newest = self.issued_at.get(token.key.key_id)
        if newest is None or token.issued_at > newest:
            self.issued_at[token.key.key_id] = token.issued_at


class Situation(msgspec.Struct):
    """The circumstances of a request.

    Attributes:
        provider_token: the request's provider token, if its signature holds.
        now: epoch seconds.
        token_update_seconds: minimum time between a provider token and its successor; 0 allows any.
    """

    environment: Environment
    registry: StandInRegistry
    peer: Peer
    provider_token: ReceivedProviderToken | None
    now: float
    token_update_seconds: float


Check = Callable[[Request, Situation], Rejection | None]

# -- the request line and the headers --


def duplicate_headers(request: Request, _: Situation) -> Rejection | None:
    """Refuse repeated headers. [ours]"""
    return Rejection("DuplicateHeaders") if request.repeated_headers else None


def message_id(request: Request, _: Situation) -> Rejection | None:
    """Require that `apns-id` is absent or a UUID in its 8-4-4-4-12 form."""
    value = request.headers.get("apns-id")
    return None if value is None or UUID_FORM.fullmatch(value) else Rejection("BadMessageId")


def method(request: Request, _: Situation) -> Rejection | None:
    """Require the method POST."""
    return None if request.method == "POST" else Rejection("MethodNotAllowed")


def topic(request: Request, _: Situation) -> Rejection | None:
    """Require `apns-topic`. (Apple lets a certificate of a single topic omit it; the stand-in does not.)"""
    return None if request.headers.get("apns-topic") else Rejection("MissingTopic")


def collapse_id(request: Request, _: Situation) -> Rejection | None:
    """Require at most 64 bytes of UTF-8 in `apns-collapse-id`."""
    value = request.headers.get("apns-collapse-id")
    if value is None or len(value.encode("utf-8", "surrogateescape")) <= MAX_COLLAPSE_ID_BYTES:
        return None
    return Rejection("BadCollapseId")


def priority(request: Request, _: Situation) -> Rejection | None:
    """Require that `apns-priority` is absent, 1, 5 or 10."""
    return (
        None if request.headers.get("apns-priority", "10") in ("1", "5", "10") else Rejection("BadPriority")
    )


def expiration(request: Request, _: Situation) -> Rejection | None:
    """Require that `apns-expiration` is absent, 0 or a whole number of epoch seconds. (APNSwift)"""
    value = request.headers.get("apns-expiration")
    return None if value is None or _EXPIRATION.fullmatch(value) else Rejection("BadExpirationDate")


def push_type(request: Request, _: Situation) -> Rejection | None:
    """Require that `apns-push-type` is absent or one of Apple's push types."""
    return (
        None if request.headers.get("apns-push-type", "alert") in PUSH_TYPES else Rejection("InvalidPushType")
    )


def push_type_fits_topic(request: Request, situation: Situation) -> Rejection | None:
    """Require the push type that the topic's suffix (e.g. `.voip`) stands for. (APNSwift)

    The reason is the one that users report for an alert to a VoIP topic (PyAPNs2#87, apns2#23).
    """
    stated = request.headers.get("apns-push-type")
    implied = type_of_topic(request.headers["apns-topic"])
    if stated is None or implied is None or stated == implied:
        return None
    # A registered bundle identifier may itself end like a suffix.
    if situation.registry.team_of(request.headers["apns-topic"]) is not None:
        return None
    return Rejection("InvalidPushType")


def background_priority(request: Request, _: Situation) -> Rejection | None:
    """Refuse priority 10 for a background push. (APNSwift; Apple: "Using priority 10 is an error")"""
    if request.headers.get("apns-push-type") == "background" and request.headers.get("apns-priority") == "10":
        return Rejection("BadPriority")
    return None


# -- the device token --


def path(request: Request, _: Situation) -> Rejection | None:
    """Require the path `/3/device/<device token>`."""
    if request.path in (PATH_PREFIX, PATH_PREFIX[:-1]):
        return Rejection("MissingDeviceToken")
    return None if request.path.startswith(PATH_PREFIX) else Rejection("BadPath")


def token_form(request: Request, _: Situation) -> Rejection | None:
    """Require a device token of 32 bytes in hex, as the stand-in issues them."""
    return None if _DEVICE_TOKEN.fullmatch(request.device_token) else Rejection("BadDeviceToken")


def token_environment(request: Request, situation: Situation) -> Rejection | None:
    """Require a device token that was issued for this environment: Apple has one reason for both faults. [ours]"""
    device = situation.registry.device(request.device_token)
    if device is None or device.environment != situation.environment:
        return Rejection("BadDeviceToken")
    return None


def token_registered(request: Request, situation: Situation) -> Rejection | None:
    """Refuse the device token of a removed app."""
    device = situation.registry.device(request.device_token)
    if device is None or device.unregistered_ms is None:
        return None
    return Rejection("Unregistered", device.unregistered_ms)


def token_for_topic(request: Request, situation: Situation) -> Rejection | None:
    """Require a device token of this topic (with its suffix) and of the push type's kind."""
    device = situation.registry.device(request.device_token)
    if device is None or device.topic != request.headers["apns-topic"]:
        return Rejection("DeviceTokenNotForTopic")
    stated = request.headers.get("apns-push-type")
    if stated is not None and PUSH_TYPES[stated].kind != device.family:
        return Rejection("DeviceTokenNotForTopic")
    return None


# -- the credential: a provider token, unless the connection has a client certificate --


def provider_token_present(request: Request, situation: Situation) -> Rejection | None:
    """Require a bearer or a client certificate."""
    if situation.peer.certificate is not None or request.bearer is not None:
        return None
    return Rejection("MissingProviderToken")


def provider_token_valid(_: Request, situation: Situation) -> Rejection | None:
    """Require a JWT with a known key, a valid signature and the key's team, or a client certificate."""
    if situation.peer.certificate is not None or situation.provider_token is not None:
        return None
    return Rejection("InvalidProviderToken")


def one_team_per_connection(_: Request, situation: Situation) -> Rejection | None:
    """Require the team of the connection's last accepted push."""
    token, bound = situation.provider_token, situation.peer.token
    if token is not None and bound is not None and token.team_id != bound.team_id:
        return Rejection("InvalidProviderToken")
    return None


def provider_token_age(_: Request, situation: Situation) -> Rejection | None:
    """Require an `iat` at most one hour ago and not in the future."""
    token = situation.provider_token
    if token is None:
        return None
    if token.issued_at < situation.now - PROVIDER_TOKEN_SECONDS:
        return Rejection("ExpiredProviderToken")
    if token.issued_at > situation.now + CLOCK_SKEW_SECONDS:
        return Rejection("InvalidProviderToken")
    return None


def key_environment(_: Request, situation: Situation) -> Rejection | None:
    """Refuse a key that is restricted to the other environment. [ours]"""
    token = situation.provider_token
    if token is None or token.key.environment in (None, situation.environment):
        return None
    return Rejection("BadEnvironmentKeyIdInToken")


def key_related(_: Request, situation: Situation) -> Rejection | None:
    """Refuse keys restricted to an environment and keys for both on one connection. [ours]"""
    token, bound = situation.provider_token, situation.peer.token
    if token is not None and bound is not None and token.key.environment != bound.key.environment:
        return Rejection("UnrelatedKeyIdInToken")
    return None


def provider_token_updates(_: Request, situation: Situation) -> Rejection | None:
    """Refuse a token of a key less than `token_update_seconds` (20 minutes) newer than the connection's last. [ours]

    Measured by `iat`, not by time of arrival: a new connection may start with a token that is 45 minutes old.
    """
    token = situation.provider_token
    if token is None:
        return None
    previous = situation.peer.issued_at.get(token.key.key_id)
    if previous is not None and 0 < token.issued_at - previous < situation.token_update_seconds:
        return Rejection("TooManyProviderTokenUpdates")
    return None


def certificate_environment(_: Request, situation: Situation) -> Rejection | None:
    """Refuse a certificate for the other environment. [ours]"""
    certificate = situation.peer.certificate
    if certificate is None or certificate.environment in (None, situation.environment):
        return None
    return Rejection("BadCertificateEnvironment")


def certificate_topic(request: Request, situation: Situation) -> Rejection | None:
    """Require that the topic without the push type's suffix is the UID of the certificate's subject."""
    certificate = situation.peer.certificate
    if certificate is None:
        return None
    device = situation.registry.device(request.device_token)
    return None if device is not None and device.bundle_id == certificate.bundle_id else Rejection("BadTopic")


def topic_allowed(request: Request, situation: Situation) -> Rejection | None:
    """Require a topic of the key's team; refuse location pushes with a certificate. [ours]"""
    if situation.peer.certificate is not None:
        return Rejection("TopicDisallowed") if request.push_type == "location" else None
    device = situation.registry.device(request.device_token)
    owner = situation.registry.team_of(device.bundle_id) if device is not None else None
    token = situation.provider_token
    return None if token is not None and owner == token.team_id else Rejection("TopicDisallowed")


# -- the payload --


def payload_present(request: Request, _: Situation) -> Rejection | None:
    """Require a body."""
    return None if request.body_size else Rejection("PayloadEmpty")


def payload_size(request: Request, _: Situation) -> Rejection | None:
    """Require at most 4096 bytes; 5120 for VoIP."""
    limit = PUSH_TYPES[request.push_type].max_payload_bytes
    return None if request.body_size <= limit else Rejection("PayloadTooLarge")


def payload_json(request: Request, _: Situation) -> Rejection | None:
    """Require a JSON object. (APNSwift, with its reason: Apple has none for broken JSON)"""
    try:
        document = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Rejection("PayloadEmpty")
    return None if isinstance(document, dict) else Rejection("PayloadEmpty")


CHECKS: tuple[Check, ...] = (
    duplicate_headers,
    message_id,
    method,
    topic,
    collapse_id,
    priority,
    expiration,
    push_type,
    push_type_fits_topic,
    background_priority,
    path,
    provider_token_present,
    provider_token_valid,
    one_team_per_connection,
    provider_token_age,
    key_environment,
    key_related,
    provider_token_updates,
    certificate_environment,
    token_form,
    token_environment,
    token_registered,
    token_for_topic,
    certificate_topic,
    topic_allowed,
    payload_present,
    payload_size,
    payload_json,
)


AnySituation = TypeVar("AnySituation", bound=Situation)


def first_rejection(
    rows: Sequence[Callable[[Request, AnySituation], Rejection | None]],
    request: Request,
    situation: AnySituation,
) -> Rejection | None:
    """Return the rejection of the first check in `rows` that fails; None if the request is accepted."""
    for check in rows:
        rejection = check(request, situation)
        if rejection is not None:
            return rejection
    return None
