"""What an answer of APNs means, as one table: (status, reason) -> verdict.

The facts are Apple's ("Handling notification responses from APNs" and, for what is about broadcast channels, "Handling
error responses from Apple Push Notification service"); what the relay does with each is its own rule:
a device token is retired by evidence only, a credential's fault never costs a token, and whatever may still arrive
is tried again until the push expires.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from relay.core.accounts import Environment
from relay.core.delivery.sending import Answer, Fate


class ReasonAction(enum.Enum):
    """What follows from an answer."""

    DELIVERED = "delivered"
    FAIL = "fail"
    """Ends here; trying again would give the same."""
    RETIRE_UNREGISTERED = "retire_unregistered"
    """The app is gone from the device: retire the token if it was registered before Apple noticed."""
    RETIRE_WRONG_TOPIC = "retire_wrong_topic"
    """The token is not of this topic: retire it for this copy."""
    RETIRE_BAD_TOKEN = "retire_bad_token"
    """Not a token of this environment: retire it only if the environment is known and no alarm is on."""
    SUSPEND = "suspend"
    """The credential is at fault: suspend it, keep what was to be sent, tell the operator."""
    RETRY = "retry"
    """Try again later, with back-off."""
    RETRY_SOON = "retry_soon"
    """Try again at once on another connection; with back-off from the second time on."""


class Blame(enum.Enum):
    """Who can mend it; operators and publishers filter by it."""

    NOBODY = "nobody"
    PUBLISHER = "publisher"
    OPERATOR = "operator"
    DEVICE = "device"
    APNS = "apns"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and whose fault it is. The wire drops connections that are of no use any more by itself."""

    action: ReasonAction
    blame: Blame


_PUBLISHER = Verdict(ReasonAction.FAIL, Blame.PUBLISHER)
_OPERATOR = Verdict(ReasonAction.FAIL, Blame.OPERATOR)
_OURS = Verdict(ReasonAction.FAIL, Blame.RELAY)
_SUSPEND = Verdict(ReasonAction.SUSPEND, Blame.OPERATOR)
_LATER = Verdict(ReasonAction.RETRY, Blame.APNS)
_SOON = Verdict(ReasonAction.RETRY_SOON, Blame.APNS)
_UNREGISTERED = Verdict(ReasonAction.RETIRE_UNREGISTERED, Blame.DEVICE)

VERDICTS: dict[tuple[int, str], Verdict] = {
    (200, ""): Verdict(ReasonAction.DELIVERED, Blame.NOBODY),
    # the publisher's
    (400, "BadCollapseId"): _PUBLISHER,
    (400, "BadExpirationDate"): _PUBLISHER,
    (400, "BadMessageId"): _PUBLISHER,
    (400, "BadPriority"): _PUBLISHER,
    (400, "InvalidPushType"): _PUBLISHER,
    (400, "PayloadEmpty"): _PUBLISHER,
    (413, "PayloadTooLarge"): _PUBLISHER,
    # topic or key configuration
    (400, "BadTopic"): _OPERATOR,
    (400, "MissingTopic"): _OPERATOR,
    (400, "TopicDisallowed"): _OPERATOR,
    (403, "Forbidden"): _OPERATOR,
    (400, "FeatureNotEnabled"): _OPERATOR,
    (400, "CannotCreateChannelConfig"): _OPERATOR,
    (403, "TopicMismatch"): _OPERATOR,
    # a channel that was deleted, though not by us
    (400, "ChannelNotRegistered"): _OPERATOR,
    # the device token's
    (400, "DeviceTokenNotForTopic"): Verdict(ReasonAction.RETIRE_WRONG_TOPIC, Blame.DEVICE),
    (400, "BadDeviceToken"): Verdict(ReasonAction.RETIRE_BAD_TOKEN, Blame.DEVICE),
    (410, "Unregistered"): _UNREGISTERED,
    (410, "ExpiredToken"): _UNREGISTERED,
    # ours
    (400, "MissingDeviceToken"): _OURS,
    (400, "DuplicateHeaders"): _OURS,
    (404, "BadPath"): _OURS,
    (405, "MethodNotAllowed"): _OURS,
    (400, "MissingChannelId"): _OURS,
    (400, "BadChannelId"): _OURS,
    (400, "MissingPushType"): _OURS,
    (400, "BadRequestParams"): _OURS,
    (400, "BadRequestPayload"): _OURS,
    # the credential's
    (403, "BadCertificate"): _SUSPEND,
    (403, "BadCertificateEnvironment"): _SUSPEND,
    (403, "MissingProviderToken"): _SUSPEND,
    (403, "InvalidProviderToken"): _SUSPEND,
    (403, "BadEnvironmentKeyIdInToken"): _SUSPEND,
    (403, "ExpiredProviderToken"): _SOON,
    (403, "UnrelatedKeyIdInToken"): _SOON,
    # the moment's
    (400, "IdleTimeout"): _SOON,
    (421, ""): _SOON,
    (429, "TooManyRequests"): Verdict(ReasonAction.RETRY, Blame.DEVICE),
    (429, "TooManyProviderTokenUpdates"): _LATER,
    (500, "InternalServerError"): _LATER,
    (503, "ServiceUnavailable"): _LATER,
    (503, "Shutdown"): _LATER,
}

BAD_CREDENTIAL = "BadCredential"
"""NOT_SENT because the key or certificate itself can't be used: no attempt will help."""


def judge(answer: Answer) -> Verdict:
    """The verdict on an answer. What the table lacks goes by its status: 5xx, 429 and 421 again, else the end.

    Without an answer Apple may have the push or not. At least once is the promise, and the apns-id stays the same.
    """
    if answer.fate is not Fate.ANSWERED:
        return _SUSPEND if answer.reason == BAD_CREDENTIAL else _SOON
    known = VERDICTS.get((answer.status, answer.reason))
    if known is not None:
        return known
    if answer.status == 200:
        return VERDICTS[200, ""]
    if answer.status == 421:
        return _SOON
    if answer.status == 410:
        return _UNREGISTERED
    if answer.status >= 500 or answer.status == 429:
        return _LATER
    return _OURS


def death(
    verdict: Verdict, answer: Answer, *, sent_at: datetime, environment: Environment | None
) -> datetime | None:
    """When the token this answer is about was dead, or None if the evidence does not suffice to retire it.

    A token that was registered later is alive. A 410 carries the moment at which Apple knew (epoch ms); without one,
    or with one in the future, the time of sending takes its place. BadDeviceToken also means "of the other
    environment", so it counts only where the environment is known.
    """
    if verdict.action is ReasonAction.RETIRE_WRONG_TOPIC:
        return sent_at
    if verdict.action is ReasonAction.RETIRE_BAD_TOKEN:
        return sent_at if environment is not None else None
    if verdict.action is ReasonAction.RETIRE_UNREGISTERED:
        # Compared as numbers first: not every timestamp that a server may send is a datetime.
        if answer.timestamp_ms is None or answer.timestamp_ms >= sent_at.timestamp() * 1000:
            return sent_at
        return datetime.fromtimestamp(answer.timestamp_ms / 1000, sent_at.tzinfo)
    return None


class BadTokenAlarm:
    """Notices when BadDeviceToken answers jump for one credential: then the configuration is wrong, not the tokens.

    Keeps the last `window` answers' worth of two decaying counts. While at least `floor` of the recent answers and
    more than `share` of all are BadDeviceToken, `ringing` is true and no token is to be retired for that reason.
    """

    def __init__(self, window: int = 1000, floor: int = 20, share: float = 0.2) -> None:
        self._window = window
        self._floor = floor
        self._share = share
        self._answers = 0.0
        self._bad = 0.0

    def note(self, answers: int, bad: int) -> None:
        """Count the answers of a batch, `bad` of them BadDeviceToken."""
        self._answers += answers
        self._bad += bad
        if self._answers > self._window:
            self._bad *= self._window / self._answers
            self._answers = float(self._window)

    @property
    def ringing(self) -> bool:
        """Whether the rate has jumped."""
        return self._bad >= self._floor and self._bad > self._share * self._answers
