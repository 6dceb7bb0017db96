"""The values between dispatch and the wire: send batches, credentials and answers.

A send batch is one payload and one set of headers for many device tokens. Answers come back by index, so a push
needs no object of its own: every success is the constant `DELIVERED`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from relay.core.accounts import CredentialKind, Environment
from relay.core.ids import CredentialId
from relay.core.push.apns_headers import PushHeaders


class Fate(enum.Enum):
    """The end of a push. Each push ends with exactly one of these."""

    ANSWERED = "answered"
    """APNs answered; `Answer.status` and `Answer.reason` hold the answer."""
    NOT_SENT = "not_sent"
    """APNs certainly did not process the push: sending it again risks no duplicate."""
    UNKNOWN = "unknown"
    """The push was sent and no answer came: sending it again may deliver it twice."""


class Answer(NamedTuple):
    """The result of one push.

    `status` is the HTTP status (0 unless ANSWERED). `reason` is Apple's reason for an error, "" for a success; for
    NOT_SENT and UNKNOWN it is a reason of the relay ("ConnectFailed", "GoAway", "ResponseTimeout", …). `timestamp_ms`
    is the timestamp of a 410 (epoch milliseconds). `unique_id` is the apns-unique-id of the sandbox, read for traced
    batches only.
    """

    fate: Fate
    status: int = 0
    reason: str = ""
    timestamp_ms: int | None = None
    unique_id: str | None = None


DELIVERED = Answer(Fate.ANSWERED, 200)


@dataclass(slots=True, eq=False, repr=False)
class SendBatch:
    """Pushes that share payload and headers; `device_tokens`, `apns_ids`, `topics` and `answers` go by index.

    Device tokens are lower-case hex, apns-ids canonical lower-case UUIDs. `answers[i]` is None until push i has
    ended. `traced` asks for answers with a `unique_id`.
    """

    payload: bytes
    headers: PushHeaders
    device_tokens: Sequence[str]
    apns_ids: Sequence[str]
    topics: Sequence[str]
    traced: bool = False
    answers: list[Answer | None] = field(init=False)

    def __post_init__(self) -> None:
        self.answers = [None] * len(self.device_tokens)

    def __len__(self) -> int:
        return len(self.device_tokens)


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """The secret that authenticates a team to APNs in one environment. `secret` is PEM text in clear: never log it.

    kind "token": `secret` is the .p8 text and `key_id` its key. kind "certificate": certificate and key in one PEM.
    `version` changes whenever the secret does. `bundle_id` is "" for a key that serves all topics of its team.
    """

    credential_id: CredentialId
    version: int
    team_id: str
    environment: Environment
    kind: CredentialKind
    key_id: str
    secret: str
    bundle_id: str = ""


class Sender(Protocol):
    """The port through which dispatch sends to APNs. It never raises for what APNs or the network does."""

    def submit(
        self,
        credential: Credential,
        batches: Sequence[SendBatch],
        on_done: Callable[[], None],
        *,
        urgent: bool = False,
    ) -> object:
        """Send batches, each of them once. Returns what `withdraw` takes.

        `on_done` is called when every `answers` entry is set, perhaps before this returns. `urgent`: where connections
        have to be opened, before those for submissions that are not.
        """

    def withdraw(self, submission: Any) -> None:
        """End as NOT_SENT "Cancelled" what has not left. The answers of what has left are ignored."""

    async def forget(self, credential_id: CredentialId) -> None:
        """Close all connections of a credential, for example because it was suspended or replaced."""

    def credential_ids(self) -> list[int]:
        """Return the ids of the credentials that have connections or pushes."""
