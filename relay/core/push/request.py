"""A send request at the door: from the body of `POST /v1.0/send/` to a frozen value nobody checks again."""

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
    """The body as the PHP sender posts it, and our optional fields; `notification` stands in place of `payload`."""

    app_id: str
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
    """How long the relay itself keeps trying (seconds): without an expiration, and for expiration 0."""

    keep_seconds: float
    immediate_seconds: float


@dataclass(slots=True, repr=False)
class PushRequest:
    """A checked request. `customers`, `devices` and `addresses` are a DestinationCheck's."""

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
    """Digests of addresses that customers may have as an alias."""
    places: Mapping[DestinationName, str] | None = None
    """Where a destination is named, as a JSON pointer, unless it is a key of the map `destinations`."""
    everyone: bool = False
    """Every customer of the app, now; then there are no other destinations."""
    warnings: list[Fault] = field(default_factory=list)
    key: IdempotencyKey | None = None
    sent_by: UUID | None = None
    """The publisher by whose console it was sent: that is in the audit log, unlike what a program sends."""


class Accepted(NamedTuple):
    """A push that is durable, and the body of the answer that says so (JSON)."""

    push_id: UUID
    answer: bytes


SubmitResult: TypeAlias = Accepted | RelayError | None
"""What became of a push at the way in. RelayError: it was not stored (Unavailable), or has no recipients (Invalid).

None: its key was used before, so that nothing was stored; what was answered then is durable.
"""


def accept_push(
    push_id: UUID, targets: int | None, skipped: int | None, warnings: Sequence[Fault]
) -> Accepted:
    """What is answered for a push: `targets` installations will be tried, `skipped` are on no test-device list.

    Both are None where they are not known yet: a push to everyone is counted while it is cut into batches.
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
    """The way in: group commit, seen from the API."""

    def submit(self, request: PushRequest, done: Callable[[SubmitResult], None]) -> None:
        """Have a push stored. `done` is called once, later, when it is durable or cannot be.

        Raises Unavailable at once where there is no room; then `done` is not called.
        """

    async def accept(self, request: PushRequest) -> Accepted | None:
        """The same for who can wait: returns when the push is durable, and raises why it is not."""
