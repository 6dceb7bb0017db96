"""The values of a send request: the body of `POST /v1.0/send/`, the checked request and its acceptance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from relay.core.errors import Fault, RelayError
from relay.core.idempotency import IdempotencyKey
from relay.core.ids import AppId, PushId, TokenId
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.destinations import DestinationName

_encode = msgspec.json.encode


class SendBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body as the PHP sender posts it, with optional fields; `notification` stands in place of `payload`."""

    app_id: AppId
    destinations: Any
    payload: Any = UNSET
    notification: Any = UNSET
    push_type: str | None = None
    priority: int | None = None
    expiration: int | None = None
    ttl: int | None = None
    collapse_id: str | None = None
    activity: str | None = None
    debug: bool = False


class Lifetimes(NamedTuple):
    """The times for which the relay retries: without an expiration, and with expiration 0."""

    keep_seconds: float
    immediate_seconds: float


@dataclass(slots=True, repr=False)
class PushRequest:
    """A checked request. `customers`, `devices` and `addresses` are those of a DestinationCheck."""

    app_id: AppId
    push_id: PushId
    token_id: TokenId
    accepted_at: datetime
    expires_at: datetime
    headers: PushHeaders
    token_kind: str
    payload: bytes
    debug: bool
    customers: Sequence[str]
    devices: Sequence[str]
    addresses: Sequence[bytes] = ()
    """The digests of addresses that customers may have as an alias."""
    places: Mapping[DestinationName, str] | None = None
    """The JSON pointer of each destination that is not a key of the map `destinations`."""
    everyone: bool = False
    """The push goes to every customer of the app; then there are no other destinations."""
    warnings: list[Fault] = field(default_factory=list)
    key: IdempotencyKey | None = None
    sent_by: UUID | None = None
    """The publisher that sent it from the console; such pushes are in the audit log."""


class Accepted(NamedTuple):
    """A durable push and the body of its 202 (JSON)."""

    push_id: UUID
    answer: bytes


SubmitResult: TypeAlias = Accepted | RelayError | None
"""The result of a submission. RelayError: not stored (Unavailable), or without recipients (Invalid).

None: the Idempotency-Key was used before, nothing was stored, and the earlier answer is durable.
"""


def accept_push(
    push_id: UUID, targets: int | None, skipped: int | None, warnings: Sequence[Fault]
) -> Accepted:
    """Return the acceptance of a push: `targets` installations are tried, `skipped` are no listed test devices.

    Both are None for a push to everyone: it is counted while it is cut into batches.
    """
    body = {
        "success": True,
        "push_id": push_id,
        "targets": targets,
        "skipped": skipped,
        "warnings": [warning._asdict() for warning in warnings],
        "errors": [],
    }
    return Accepted(push_id, _encode(body))


class Acceptor(Protocol):
    """The port through which pushes are stored (group commit)."""

    def submit(self, request: PushRequest, done: Callable[[SubmitResult], None]) -> None:
        """Store a push. `done` is called once, later, when the push is durable or cannot be stored.

        Raises Unavailable at once if there is no room; then `done` is not called.
        """

    async def accept(self, request: PushRequest) -> Accepted | None:
        """Store a push and return when it is durable; None for a used key. Raises the error if it cannot be stored."""
