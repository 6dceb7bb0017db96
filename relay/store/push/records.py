"""Rows of pushes and batches as the rest of the relay sees them, and the parts of a settlement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.accounts import Environment
from relay.core.delivery.outcomes import Outcome, PushState
from relay.core.delivery.plan import ClaimedBatch, ListedDevice
from relay.core.ids import AppId, PushId

MAX_SMALL_BATCH_SIZE = 100
"""A batch of more installations is bulk: it waits behind the small batches of its app."""
ENVIRONMENTS: dict[str | None, Environment | None] = {
    None: None,
    Environment.PRODUCTION: Environment.PRODUCTION,
    Environment.SANDBOX: Environment.SANDBOX,
}
"""The environment by its column. It is NULL for an installation whose environment is not known yet."""


# --- leases ---


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of the node `owner` to send a batch, until the time `until`."""

    owner: UUID
    until: datetime


class DispatchContext(NamedTuple):
    """Facts about apps that dispatch needs: listed installations by app_id and id, and the apps with a webhook."""

    listed: dict[str, dict[int, ListedDevice]]
    with_webhook: set[str]


# --- settlement ---


@dataclass(slots=True)
class DeliveryOutcome:
    """Installations of a batch that ended with one outcome, status and reason."""

    batch: ClaimedBatch
    outcome: Outcome
    status: int
    reason: str
    installations: Sequence[int]


@dataclass(slots=True)
class Retry:
    """Installations of a batch that are sent again at `due_at`, and the `reason`.

    `held_by` is the id of the credential they wait for, 0 for a missing one, None if they wait for none.
    """

    batch: ClaimedBatch
    attempt: int
    due_at: datetime
    held_by: int | None
    reason: str
    installations: Sequence[int]


@dataclass(slots=True, repr=False)
class TokenRetirement:
    """A device token that APNs reported as dead at the time `evidence`. A later registration of it stays valid."""

    app_id: str
    installation_id: int
    token: bytes
    reason: str
    evidence: datetime


@dataclass(slots=True, repr=False)
class Trace:
    """The record (JSON) of one attempt at one listed test device."""

    app_id: str
    push_id: UUID
    installation_id: int
    attempt: int
    record: str


@dataclass(slots=True)
class Settlement:
    """Everything about batches that is written by one transaction.

    `remaining` are batches with the installations that are still open.
    """

    ended: list[ClaimedBatch] = field(default_factory=list)
    remaining: list[tuple[ClaimedBatch, Sequence[int]]] = field(default_factory=list)
    outcomes: list[DeliveryOutcome] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    retirements: list[TokenRetirement] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to write."""
        return not (
            self.ended or self.remaining or self.outcomes or self.retries or self.retirements or self.traces
        )

    @property
    def concerns_webhooks(self) -> bool:
        """Return whether an outcome or retry belongs to an app with a webhook."""
        return any(outcome.batch.has_webhook for outcome in self.outcomes) or any(
            retry.batch.has_webhook for retry in self.retries
        )


# --- broadcasts ---


class BroadcastPiece(NamedTuple):
    """A piece of a broadcast that was cut into batches.

    `with_token` of its installations have a device token, and `targets` of those are sent to. `is_last` ends it.
    """

    app_id: AppId
    push_id: PushId
    with_token: int
    is_last: bool
    targets: int


class BroadcastReach(NamedTuple):
    """The targets of a push to everyone, and the installations that are skipped because they are not listed."""

    targets: int
    skipped: int


# --- pushes read back ---


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPush:
    """A push as it was accepted. `growing`: a broadcast whose targets are not all counted yet."""

    app_id: AppId
    push_id: PushId
    created_at: datetime
    expires_at: datetime
    push_type: str
    priority: int
    expiration: int | None
    collapse_id: str | None
    debug: bool
    targets: int
    skipped: int
    cancelled_at: datetime | None
    growing: bool


class OutcomeCount(NamedTuple):
    """The number of installations of a push that ended with one outcome and reason."""

    outcome: Outcome
    reason: str
    installations: int


class DeliveryReport(NamedTuple):
    """The outcome of one installation. `(delivery_id, position)` orders deliveries and is the cursor of a page.

    `customer` and `device` are `c_` and `d_` identifiers, None if none was minted.
    """

    delivery_id: int
    position: int
    customer: str | None
    device: str | None
    alongside: str
    outcome: Outcome
    status: int
    reason: str
    attempt: int
    settled_at: datetime


class TraceReport(NamedTuple):
    """The record (JSON) of one attempt at a listed test device, with the identifiers its publisher knows."""

    customer: str | None
    device: str | None
    alongside: str
    attempt: int
    record: str


@dataclass(frozen=True, slots=True)
class RecentPush:
    """A push in a list. `counts`: installations by outcome, or None if counting them would read too many rows.

    `sender` is the label of the API token that sent the push, and `kind` the kind of that token.
    """

    push_id: UUID
    created_at: datetime
    push_type: str
    debug: bool
    targets: int
    state: PushState
    counts: Mapping[str, int] | None
    sender: str
    kind: str
