"""The table of reasons: why a push was or was not delivered, and what follows from it.

`ANSWER_RULES` maps what APNs answers, (status, reason); `RELAY_RULES` maps the reasons of the relay itself. A row says
what the relay does, who can fix it, and in two sentences what happened and what a publisher can do. A new reason is
one new row. The rules behind the rows:

- only evidence retires a device token;
- the fault of a credential never costs a token;
- whatever may still arrive is retried until the push expires.

Sources: Apple, "Handling notification responses from APNs" and, for broadcast channels, "Handling error responses from
Apple Push Notification service".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from relay.core.accounts import Environment
from relay.core.delivery.sending import Answer, Fate


class ReasonAction(enum.Enum):
    """The consequences that an answer can have."""

    DELIVERED = "delivered"
    FAIL = "fail"
    """End the delivery: another attempt would get this answer again."""
    RETIRE_UNREGISTERED = "retire_unregistered"
    """The app is gone from the device: retire the token if it was registered before Apple noticed."""
    RETIRE_WRONG_TOPIC = "retire_wrong_topic"
    """The token belongs to another topic: retire it for this installation."""
    RETIRE_BAD_TOKEN = "retire_bad_token"
    """The token does not belong to this environment: retire it if the environment is known and no alarm is on."""
    SUSPEND = "suspend"
    """The credential is at fault: suspend it, keep its pushes, tell the operator."""
    RETRY = "retry"
    """Retry with back-off."""
    RETRY_SOON = "retry_soon"
    """Retry at once on another connection; from the second time on with back-off."""


class Blame(enum.Enum):
    """The party that can fix a failure; operators and publishers filter by it."""

    NOBODY = "nobody"
    PUBLISHER = "publisher"
    OPERATOR = "operator"
    DEVICE = "device"
    APNS = "apns"
    RELAY = "relay"


class ReasonRule(NamedTuple):
    """A row of the table.

    `action` is None for reasons that no answer carries: the relay records them itself. `meaning` says what happened
    and `advice` what to do, each as whole sentences for a publisher.
    """

    action: ReasonAction | None
    blame: Blame
    meaning: str
    advice: str


BAD_CREDENTIAL = "BadCredential"
"""The reason of NOT_SENT when the key or certificate cannot be used at all: no further attempt would help."""
OTHER = "Other"
"""The metric label of every reason that is not in the table."""

_DELIVERED = ReasonAction.DELIVERED, Blame.NOBODY
_PUBLISHER = ReasonAction.FAIL, Blame.PUBLISHER
_OPERATOR = ReasonAction.FAIL, Blame.OPERATOR
_RELAY = ReasonAction.FAIL, Blame.RELAY
_WRONG_TOPIC = ReasonAction.RETIRE_WRONG_TOPIC, Blame.DEVICE
_BAD_TOKEN = ReasonAction.RETIRE_BAD_TOKEN, Blame.DEVICE
_UNREGISTERED = ReasonAction.RETIRE_UNREGISTERED, Blame.DEVICE
_SUSPEND = ReasonAction.SUSPEND, Blame.OPERATOR
_RETRY = ReasonAction.RETRY, Blame.APNS
_RETRY_DEVICE = ReasonAction.RETRY, Blame.DEVICE
_RETRY_SOON = ReasonAction.RETRY_SOON, Blame.APNS
_RETRY_SOON_RELAY = ReasonAction.RETRY_SOON, Blame.RELAY
_RECORDED = None, Blame.NOBODY
_RECORDED_APNS = None, Blame.APNS
_RECORDED_DEVICE = None, Blame.DEVICE
_RECORDED_OPERATOR = None, Blame.OPERATOR

_REGISTERS_AGAIN = "Nothing: the app registers again at its next launch, and is reached from then on."
_TELL_OPERATOR = "Tell the operator of the store: it is about the key or certificate of the copy's team."
_TELL_RELAY_OPERATOR = "Tell the operator of the relay: this is a fault of the relay and not of your push."
_SEND_AGAIN = "Send again, with a longer time to live if it may arrive late."
_RETRIED = "Nothing: the relay tries again until the push expires."
_KEPT = "Nothing: the push is kept, and goes on when the operator has mended it. It may expire meanwhile."
_UNEXPLAINED = (
    "Apple gave a reason that the relay has no words for.",
    "Tell the operator of the relay what it is.",
)

ANSWER_RULES: Mapping[tuple[int, str], ReasonRule] = {
    (200, ""): ReasonRule(*_DELIVERED, *_UNEXPLAINED),
    # The publisher can fix the push.
    (400, "BadCollapseId"): ReasonRule(
        *_PUBLISHER, "The collapse id is longer than 64 bytes.", "Send again with a shorter one."
    ),
    (400, "BadExpirationDate"): ReasonRule(
        *_PUBLISHER, "Apple can't read the expiration.", "Send again with epoch seconds, or a `ttl`."
    ),
    (400, "BadMessageId"): ReasonRule(
        *_PUBLISHER, "Apple can't read the id that the relay gave the push.", _TELL_RELAY_OPERATOR
    ),
    (400, "BadPriority"): ReasonRule(
        *_PUBLISHER, "This push type can't have that priority.", "Send again without a priority."
    ),
    (400, "InvalidPushType"): ReasonRule(
        *_PUBLISHER, "The push type does not fit the payload.", "Send again with the type it is meant for."
    ),
    (400, "PayloadEmpty"): ReasonRule(*_PUBLISHER, "The payload is empty.", "Send again with a payload."),
    (413, "PayloadTooLarge"): ReasonRule(
        *_PUBLISHER,
        "The payload is larger than Apple allows.",
        "Shorten the texts, or let the app fetch them.",
    ),
    # The operator can fix the topic or the rights of the key.
    (400, "BadTopic"): ReasonRule(
        *_OPERATOR, "Apple does not know the topic, which is the copy's bundle identifier.", _TELL_OPERATOR
    ),
    (400, "MissingTopic"): ReasonRule(
        *_OPERATOR, "Apple wants a topic: the certificate is for more than one.", _TELL_OPERATOR
    ),
    (400, "TopicDisallowed"): ReasonRule(
        *_OPERATOR, "The team's key may not push to this copy's bundle identifier.", _TELL_OPERATOR
    ),
    (403, "Forbidden"): ReasonRule(
        *_OPERATOR, "Apple refuses the request, whatever the key says.", _TELL_OPERATOR
    ),
    (400, "FeatureNotEnabled"): ReasonRule(
        *_OPERATOR, "Broadcast is not switched on for this bundle identifier.", _TELL_OPERATOR
    ),
    (400, "CannotCreateChannelConfig"): ReasonRule(
        *_OPERATOR, "The bundle identifier has as many channels as Apple allows.", _TELL_OPERATOR
    ),
    (403, "TopicMismatch"): ReasonRule(
        *_OPERATOR, "The channel belongs to another bundle identifier.", _TELL_OPERATOR
    ),
    # Deleted at Apple, and not by the relay.
    (400, "ChannelNotRegistered"): ReasonRule(
        *_OPERATOR, "Apple does not know the channel any more.", _TELL_OPERATOR
    ),
    # The device token is at fault.
    (400, "DeviceTokenNotForTopic"): ReasonRule(
        *_WRONG_TOPIC,
        "The device token belongs to another bundle identifier: the copy was re-signed.",
        _REGISTERS_AGAIN,
    ),
    (400, "BadDeviceToken"): ReasonRule(
        *_BAD_TOKEN,
        "This is no device token of the environment that the copy was built for.",
        f"{_REGISTERS_AGAIN} If many say this, the store has the wrong environment for them: tell its operator.",
    ),
    (410, "Unregistered"): ReasonRule(
        *_UNREGISTERED,
        "The app is not on the device any more, or its owner switched notifications off.",
        _REGISTERS_AGAIN,
    ),
    (410, "ExpiredToken"): ReasonRule(*_UNREGISTERED, "The device token is too old.", _REGISTERS_AGAIN),
    # The relay is at fault.
    (400, "MissingDeviceToken"): ReasonRule(
        *_RELAY, "The relay named no device token.", _TELL_RELAY_OPERATOR
    ),
    (400, "DuplicateHeaders"): ReasonRule(*_RELAY, "The relay sent a header twice.", _TELL_RELAY_OPERATOR),
    (404, "BadPath"): ReasonRule(
        *_RELAY, "The relay asked at a path that Apple does not know.", _TELL_RELAY_OPERATOR
    ),
    (405, "MethodNotAllowed"): ReasonRule(
        *_RELAY, "The relay asked in a way that Apple does not know.", _TELL_RELAY_OPERATOR
    ),
    (400, "MissingChannelId"): ReasonRule(*_RELAY, "The relay named no channel.", _TELL_RELAY_OPERATOR),
    (400, "BadChannelId"): ReasonRule(
        *_RELAY, "The relay named a channel that can be none.", _TELL_RELAY_OPERATOR
    ),
    (400, "MissingPushType"): ReasonRule(*_RELAY, "The relay named no push type.", _TELL_RELAY_OPERATOR),
    (400, "BadRequestParams"): ReasonRule(
        *_RELAY, "Apple can't read the relay's request.", _TELL_RELAY_OPERATOR
    ),
    (400, "BadRequestPayload"): ReasonRule(
        *_RELAY, "Apple can't read what the relay asked for.", _TELL_RELAY_OPERATOR
    ),
    # The credential is at fault.
    (403, "BadCertificate"): ReasonRule(*_SUSPEND, "Apple refuses the certificate.", _KEPT),
    (403, "BadCertificateEnvironment"): ReasonRule(
        *_SUSPEND, "The certificate is for the other environment.", _KEPT
    ),
    (403, "MissingProviderToken"): ReasonRule(
        *_SUSPEND, "Apple saw no key, and no certificate either.", _KEPT
    ),
    (403, "InvalidProviderToken"): ReasonRule(
        *_SUSPEND, "Apple refuses the key of the team: it was revoked, or its ids are wrong.", _KEPT
    ),
    (403, "BadEnvironmentKeyIdInToken"): ReasonRule(
        *_SUSPEND, "The key is for the other environment.", _KEPT
    ),
    (403, "ExpiredProviderToken"): ReasonRule(
        *_RETRY_SOON, "Apple found the key's signature too old.", _RETRIED
    ),
    (403, "UnrelatedKeyIdInToken"): ReasonRule(
        *_RETRY_SOON, "Apple knew the connection by another key.", _RETRIED
    ),
    # A passing condition.
    (400, "IdleTimeout"): ReasonRule(*_RETRY_SOON, "Apple closed a connection that was idle.", _RETRIED),
    (421, ""): ReasonRule(*_RETRY_SOON, *_UNEXPLAINED),
    (429, "TooManyRequests"): ReasonRule(
        *_RETRY_DEVICE,
        "This device got too many pushes in a short time.",
        "Send less often to one device, or give what replaces one another a collapse id.",
    ),
    (429, "TooManyProviderTokenUpdates"): ReasonRule(
        *_RETRY, "Apple wants the key's signature to change less often.", _RETRIED
    ),
    (500, "InternalServerError"): ReasonRule(*_RETRY, "Apple had a fault of its own.", _SEND_AGAIN),
    (503, "ServiceUnavailable"): ReasonRule(*_RETRY, "Apple could not take the push.", _SEND_AGAIN),
    (503, "Shutdown"): ReasonRule(*_RETRY, "Apple's server was shutting down.", _SEND_AGAIN),
}
"""The answers of APNs, by status and reason."""

RELAY_RULES: Mapping[str, ReasonRule] = {
    # Outcomes without an answer.
    "Expired": ReasonRule(*_RECORDED, "The push expired before its turn came.", _SEND_AGAIN),
    "Cancelled": ReasonRule(*_RECORDED, "The push was cancelled.", "Nothing: this is what was asked for."),
    "NoDeviceToken": ReasonRule(
        *_RECORDED_DEVICE, "The copy had no device token any more when its turn came.", _REGISTERS_AGAIN
    ),
    "InternalError": ReasonRule(*_RECORDED_APNS, *_UNEXPLAINED),
    # The delivery waits for a credential.
    "CredentialSuspended": ReasonRule(
        *_RECORDED_OPERATOR, "The key or certificate of the copy's team is suspended.", _KEPT
    ),
    "NoCredential": ReasonRule(
        *_RECORDED_OPERATOR, "There is no key or certificate for the copy's team.", _KEPT
    ),
    # The credential, on this machine.
    BAD_CREDENTIAL: ReasonRule(*_SUSPEND, "The key or certificate itself can't be used.", _KEPT),
    "CredentialForgotten": ReasonRule(
        *_RETRY_SOON, "The relay closed the connection: its key was suspended.", _SEND_AGAIN
    ),
    "CredentialReplaced": ReasonRule(
        *_RETRY_SOON, "The relay closed the connection: its key was replaced.", _SEND_AGAIN
    ),
    "NoFile": ReasonRule(
        *_RETRY_SOON_RELAY,
        "The relay could not write the file that a certificate has to be.",
        _TELL_RELAY_OPERATOR,
    ),
    "ProviderTokenExpired": ReasonRule(
        *_RETRY_SOON, "The key's signature was too old, and too young to be made anew.", _RETRIED
    ),
    # No connection.
    "ConnectFailed": ReasonRule(*_RETRY_SOON, "Apple's server could not be reached.", _SEND_AGAIN),
    "ConnectTimeout": ReasonRule(*_RETRY_SOON, "Apple's server could not be reached in time.", _SEND_AGAIN),
    "NoConnection": ReasonRule(*_RETRY_SOON, "There was no connection to Apple.", _SEND_AGAIN),
    "NoHttp2": ReasonRule(
        *_RETRY_SOON_RELAY, "What answered at Apple's address does not speak HTTP/2.", _TELL_RELAY_OPERATOR
    ),
    "TlsFailed": ReasonRule(
        *_RETRY_SOON_RELAY,
        "What answered at Apple's address could not show that it is Apple.",
        _TELL_RELAY_OPERATOR,
    ),
    # A connection that ended, or can carry no further push.
    "Closed": ReasonRule(
        *_RETRY_SOON_RELAY, "The relay closed the connection: its key was changed.", _SEND_AGAIN
    ),
    "ConnectionClosed": ReasonRule(
        *_RETRY_SOON, "The connection to Apple was closed before an answer came.", _SEND_AGAIN
    ),
    "ConnectionLost": ReasonRule(*_RETRY_SOON, "The connection to Apple broke off.", _SEND_AGAIN),
    "GoAway": ReasonRule(*_RETRY_SOON, "Apple ended the connection.", _SEND_AGAIN),
    "MisdirectedRequest": ReasonRule(
        *_RETRY_SOON, "Apple's server was not the one for this key.", _SEND_AGAIN
    ),
    "PingTimeout": ReasonRule(*_RETRY_SOON, "The connection to Apple gave no sign any more.", _SEND_AGAIN),
    "ProtocolError": ReasonRule(*_RETRY_SOON, "Apple's answer broke the rules of HTTP/2.", _SEND_AGAIN),
    "Stalled": ReasonRule(*_RETRY_SOON, "The connection to Apple stood still.", _SEND_AGAIN),
    "StreamIdsUsedUp": ReasonRule(
        *_RETRY_SOON, "The connection had carried as many pushes as one can.", _SEND_AGAIN
    ),
    # A push whose answer did not come, or cannot be read.
    "MalformedAnswer": ReasonRule(*_RETRY_SOON, "Apple's answer could not be read.", _SEND_AGAIN),
    "NoAnswer": ReasonRule(*_RETRY_SOON, "The push left, and no answer came.", _SEND_AGAIN),
    "RefusedStream": ReasonRule(*_RETRY_SOON, "Apple did not look at the push.", _SEND_AGAIN),
    "ResponseTimeout": ReasonRule(*_RETRY_SOON, "Apple gave no answer in time.", _SEND_AGAIN),
    "StreamReset": ReasonRule(*_RETRY_SOON, "Apple broke off its answer.", _SEND_AGAIN),
}
"""The relay's own reasons, for answers that never came and for deliveries that ended or wait without one."""

_UNKNOWN = ReasonRule(None, Blame.APNS, *_UNEXPLAINED)
_BY_REASON: Mapping[str, ReasonRule] = {
    **{reason: rule for (_, reason), rule in ANSWER_RULES.items() if reason},
    **RELAY_RULES,
}
REASONS = frozenset({"", *_BY_REASON})
"""The values of the metric label "reason", beside `OTHER`; "" where the outcome says it all."""


def decide(answer: Answer) -> ReasonAction:
    """Return what follows from an answer; an answer that is not in the table goes by its status."""
    if answer.fate is Fate.ANSWERED:
        rule = ANSWER_RULES.get((answer.status, answer.reason))
    else:
        rule = RELAY_RULES.get(answer.reason)
    if rule is not None and rule.action is not None:
        return rule.action
    return _decide_by_status(answer)


def _decide_by_status(answer: Answer) -> ReasonAction:
    # Without an answer APNs may have the push or not. Delivery is at least once, and the apns-id stays the same.
    if answer.fate is not Fate.ANSWERED or answer.status == 421:
        return ReasonAction.RETRY_SOON
    if answer.status == 200:
        return ReasonAction.DELIVERED
    if answer.status == 410:
        return ReasonAction.RETIRE_UNREGISTERED
    if answer.status >= 500 or answer.status == 429:
        return ReasonAction.RETRY
    return ReasonAction.FAIL


def token_death(
    action: ReasonAction, answer: Answer, *, sent_at: datetime, environment: Environment | None
) -> datetime | None:
    """Return when the device token of an answer was dead, or None without enough evidence to retire it.

    A token that was registered later is alive. A 410 carries the moment at which Apple knew (epoch ms); without one,
    or with one in the future, `sent_at` takes its place. BadDeviceToken also means "of the other environment", so it
    counts only where `environment` is known.
    """
    if action is ReasonAction.RETIRE_WRONG_TOPIC:
        return sent_at
    if action is ReasonAction.RETIRE_BAD_TOKEN:
        return sent_at if environment is not None else None
    if action is ReasonAction.RETIRE_UNREGISTERED:
        # Compared as numbers first: not every timestamp that a server may send is a datetime.
        if answer.timestamp_ms is None or answer.timestamp_ms >= sent_at.timestamp() * 1000:
            return sent_at
        return datetime.fromtimestamp(answer.timestamp_ms / 1000, sent_at.tzinfo)
    return None


def explain(reason: str) -> ReasonRule:
    """Return the row of a reason, for its `meaning`, `advice` and `blame`; a reason not in the table is called unknown.

    "GoAway:Shutdown" is the end of a connection with the reason that APNs gave: that reason's row comes first.
    """
    kind, _, detail = reason.partition(":")
    return _BY_REASON.get(detail) or _BY_REASON.get(kind) or _UNKNOWN


def metric_label(reason: str) -> str:
    """Return `reason` if it is in the table, of "GoAway:Shutdown" the part before the colon, else `OTHER`.

    A server may answer anything, and a label that can take any value could grow without bound.
    """
    if reason in REASONS:
        return reason
    kind = reason.partition(":")[0]
    return kind if kind in _BY_REASON else OTHER
