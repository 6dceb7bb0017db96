"""Every check the stand-in makes of a push request, in the order APNs makes them.

`CHECKS` is the whole of it: the first check that objects decides the answer. The order and most rules are
those of Pushy's mock server, the best-tested imitation of Apple's, but that who sends is checked before to whom,
as Apple does: a stranger does not learn which device tokens there are. The rest are APNSwift's test server's
and, where marked [ours], drawn from Apple's list of reasons or from reports of what the real servers
answered.

Each check is a pure function of the request and the situation it arrived in.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from .certificates import ClientCertificate
from .provider_tokens import ReceivedProviderToken
from .push_types import PUSH_TYPES, type_of_topic
from .reasons import Rejection
from .registry import Environment, StandInRegistry

PATH_PREFIX = "/3/device/"
PROVIDER_TOKEN_SECONDS = 3600
# A sender's clock may be a little ahead of ours; Apple does not say how much it forgives. [ours]
CLOCK_SKEW_SECONDS = 5
MAX_COLLAPSE_ID_BYTES = 64

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DEVICE_TOKEN = re.compile(r"[0-9a-fA-F]{64}")
_EXPIRATION = re.compile(r"[0-9]{1,18}")
_BEARER = re.compile(r"bearer +(\S.*)", re.IGNORECASE)


class Request(msgspec.Struct):
    """One push request. `headers` without pseudo-headers; of a repeated header the last value.

    `body` may be cut off after the largest payload allowed; `body_size` is its true length in bytes.
    """

    method: str
    path: str
    headers: dict[str, str]
    repeated_headers: bool
    body: bytes
    body_size: int

    @property
    def device_token(self) -> str:
        """What follows `/3/device/` in the path, in lower case; not necessarily a device token."""
        return self.path[len(PATH_PREFIX) :].lower() if self.path.startswith(PATH_PREFIX) else ""

    @property
    def bearer(self) -> str | None:
        """The JWT of the authorization header."""
        match = _BEARER.fullmatch(self.headers.get("authorization", ""))
        return match[1].strip() if match else None

    @property
    def push_type(self) -> str:
        """`apns-push-type`, or what the topic stands for if that header is absent."""
        stated = self.headers.get("apns-push-type")
        return stated or type_of_topic(self.headers.get("apns-topic", "")) or "alert"


class Peer(msgspec.Struct):
    """What a connection has shown of its provider so far.

    `token` is the provider token last accepted: it binds the connection to its team and its kind of key.
    `issued_at` holds, by key, the `iat` of the newest provider token accepted here.
    """

    certificate: ClientCertificate | None = None
    token: ReceivedProviderToken | None = None
    issued_at: dict[str, float] = msgspec.field(default_factory=dict)

    def bind(self, token: ReceivedProviderToken) -> None:
        """A request with that provider token was accepted."""
        self.token = token
        newest = self.issued_at.get(token.key.key_id)
        if newest is None or token.issued_at > newest:
            self.issued_at[token.key.key_id] = token.issued_at


class Situation(msgspec.Struct):
    """What a request is judged against.

    `provider_token` is the request's own, if its signature held. `now` in epoch seconds.
    `token_update_seconds`: a provider token renewed sooner than this after its predecessor is refused; 0
    never refuses.
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
    """[ours] One or more headers were repeated."""
    return Rejection("DuplicateHeaders") if request.repeated_headers else None


def message_id(request: Request, _: Situation) -> Rejection | None:
    """`apns-id` is a UUID in its 8-4-4-4-12 form."""
    value = request.headers.get("apns-id")
    return None if value is None or UUID_FORM.fullmatch(value) else Rejection("BadMessageId")


def method(request: Request, _: Situation) -> Rejection | None:
    """The method is POST."""
    return None if request.method == "POST" else Rejection("MethodNotAllowed")


def topic(request: Request, _: Situation) -> Rejection | None:
    """`apns-topic` is there. (Apple lets a certificate of a single topic omit it; we ask for it always.)"""
    return None if request.headers.get("apns-topic") else Rejection("MissingTopic")


def collapse_id(request: Request, _: Situation) -> Rejection | None:
    """`apns-collapse-id` has at most 64 bytes of UTF-8."""
    value = request.headers.get("apns-collapse-id")
    if value is None or len(value.encode("utf-8", "surrogateescape")) <= MAX_COLLAPSE_ID_BYTES:
        return None
    return Rejection("BadCollapseId")


def priority(request: Request, _: Situation) -> Rejection | None:
    """`apns-priority` is 1, 5 or 10."""
    return (
        None if request.headers.get("apns-priority", "10") in ("1", "5", "10") else Rejection("BadPriority")
    )


def expiration(request: Request, _: Situation) -> Rejection | None:
    """`apns-expiration` is a whole number of epoch seconds, or 0. (APNSwift)"""
    value = request.headers.get("apns-expiration")
    return None if value is None or _EXPIRATION.fullmatch(value) else Rejection("BadExpirationDate")


def push_type(request: Request, _: Situation) -> Rejection | None:
    """`apns-push-type` is one of Apple's."""
    return (
        None if request.headers.get("apns-push-type", "alert") in PUSH_TYPES else Rejection("InvalidPushType")
    )


def push_type_fits_topic(request: Request, situation: Situation) -> Rejection | None:
    """A topic with the suffix of a push type, e.g. `.voip`, takes that type only. (APNSwift)

    The reason is the one users report for an alert sent to a VoIP topic (PyAPNs2#87, apns2#23).
    """
    stated = request.headers.get("apns-push-type")
    meant = type_of_topic(request.headers["apns-topic"])
    if stated is None or meant is None or stated == meant:
        return None
    # A bundle identifier may by itself end like a suffix.
    if situation.registry.team_of(request.headers["apns-topic"]) is not None:
        return None
    return Rejection("InvalidPushType")


def background_priority(request: Request, _: Situation) -> Rejection | None:
    """A background push may not have priority 10. (APNSwift; Apple: "Using priority 10 is an error")"""
    if request.headers.get("apns-push-type") == "background" and request.headers.get("apns-priority") == "10":
        return Rejection("BadPriority")
    return None


# -- the device token --


def path(request: Request, _: Situation) -> Rejection | None:
    """The path is `/3/device/<device token>`."""
    if request.path in (PATH_PREFIX, PATH_PREFIX[:-1]):
        return Rejection("MissingDeviceToken")
    return None if request.path.startswith(PATH_PREFIX) else Rejection("BadPath")


def token_form(request: Request, _: Situation) -> Rejection | None:
    """The device token is 32 bytes in hex, as all tokens issued here are."""
    return None if _DEVICE_TOKEN.fullmatch(request.device_token) else Rejection("BadDeviceToken")


def token_environment(request: Request, situation: Situation) -> Rejection | None:
    """[ours] The device token was issued, and for this environment: Apple gives one reason for both."""
    device = situation.registry.device(request.device_token)
    if device is None or device.environment != situation.environment:
        return Rejection("BadDeviceToken")
    return None


def token_registered(request: Request, situation: Situation) -> Rejection | None:
    """The app is still on the device."""
    device = situation.registry.device(request.device_token)
    if device is None or device.unregistered_ms is None:
        return None
    return Rejection("Unregistered", device.unregistered_ms)


def token_for_topic(request: Request, situation: Situation) -> Rejection | None:
    """The device token was issued for this topic, suffix included, and is of the push type's kind."""
    device = situation.registry.device(request.device_token)
    if device is None or device.topic != request.headers["apns-topic"]:
        return Rejection("DeviceTokenNotForTopic")
    stated = request.headers.get("apns-push-type")
    if stated is not None and PUSH_TYPES[stated].kind != device.family:
        return Rejection("DeviceTokenNotForTopic")
    return None


# -- the credential: a provider token, unless the connection has a client certificate --


def provider_token_present(request: Request, situation: Situation) -> Rejection | None:
    """There is a bearer, or a client certificate."""
    if situation.peer.certificate is not None or request.bearer is not None:
        return None
    return Rejection("MissingProviderToken")


def provider_token_valid(_: Request, situation: Situation) -> Rejection | None:
    """The JWT can be parsed, its key is known, its signature right, and its team the key's."""
    if situation.peer.certificate is not None or situation.provider_token is not None:
        return None
    return Rejection("InvalidProviderToken")


def one_team_per_connection(_: Request, situation: Situation) -> Rejection | None:
    """The first accepted push binds the connection to its team."""
    token, bound = situation.provider_token, situation.peer.token
    if token is not None and bound is not None and token.team_id != bound.team_id:
        return Rejection("InvalidProviderToken")
    return None


def provider_token_age(_: Request, situation: Situation) -> Rejection | None:
    """`iat` is at most one hour ago, and not in the future."""
    token = situation.provider_token
    if token is None:
        return None
    if token.issued_at < situation.now - PROVIDER_TOKEN_SECONDS:
        return Rejection("ExpiredProviderToken")
    if token.issued_at > situation.now + CLOCK_SKEW_SECONDS:
        return Rejection("InvalidProviderToken")
    return None


def key_environment(_: Request, situation: Situation) -> Rejection | None:
    """[ours] A key made for one environment is not used in the other."""
    token = situation.provider_token
    if token is None or token.key.environment in (None, situation.environment):
        return None
    return Rejection("BadEnvironmentKeyIdInToken")


def key_related(_: Request, situation: Situation) -> Rejection | None:
    """[ours] Keys restricted to an environment and keys for both don't share a connection."""
    token, bound = situation.provider_token, situation.peer.token
    if token is not None and bound is not None and token.key.environment != bound.key.environment:
        return Rejection("UnrelatedKeyIdInToken")
    return None


def provider_token_updates(_: Request, situation: Situation) -> Rejection | None:
    """[ours] A connection's token of a key is renewed at most every 20 minutes, measured by `iat`.

    By `iat`, not by time of arrival: a new connection may well start with a token that is 45 minutes old.
    """
    token = situation.provider_token
    if token is None:
        return None
    previous = situation.peer.issued_at.get(token.key.key_id)
    if previous is not None and 0 < token.issued_at - previous < situation.token_update_seconds:
        return Rejection("TooManyProviderTokenUpdates")
    return None


def certificate_environment(_: Request, situation: Situation) -> Rejection | None:
    """[ours] A certificate made for one environment is not used in the other."""
    certificate = situation.peer.certificate
    if certificate is None or certificate.environment in (None, situation.environment):
        return None
    return Rejection("BadCertificateEnvironment")


def certificate_topic(request: Request, situation: Situation) -> Rejection | None:
    """The topic, less the push type's suffix, is the certificate's: the UID of its subject."""
    certificate = situation.peer.certificate
    if certificate is None:
        return None
    device = situation.registry.device(request.device_token)
    return None if device is not None and device.bundle_id == certificate.bundle_id else Rejection("BadTopic")


def topic_allowed(request: Request, situation: Situation) -> Rejection | None:
    """[ours] The topic belongs to the key's team. Location pushes take provider tokens only."""
    if situation.peer.certificate is not None:
        return Rejection("TopicDisallowed") if request.push_type == "location" else None
    device = situation.registry.device(request.device_token)
    owner = situation.registry.team_of(device.bundle_id) if device is not None else None
    token = situation.provider_token
    return None if token is not None and owner == token.team_id else Rejection("TopicDisallowed")


# -- the payload --


def payload_present(request: Request, _: Situation) -> Rejection | None:
    """There is a body."""
    return None if request.body_size else Rejection("PayloadEmpty")


def payload_size(request: Request, _: Situation) -> Rejection | None:
    """At most 4096 bytes; 5120 for VoIP."""
    limit = PUSH_TYPES[request.push_type].max_payload
    return None if request.body_size <= limit else Rejection("PayloadTooLarge")


def payload_json(request: Request, _: Situation) -> Rejection | None:
    """The body is a JSON object. (APNSwift, its reason too: Apple names none for broken JSON)"""
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


def judge(request: Request, situation: Situation) -> Rejection | None:
    """The answer of the first check that objects; None when the notification is accepted."""
    for check in CHECKS:
        rejection = check(request, situation)
        if rejection is not None:
            return rejection
    return None
