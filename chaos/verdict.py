"""The comparison: what was accepted, what APNs received, and what the ledger says. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any
from uuid import UUID

from relay.core.ids import ApnsIds

OWN_RETIREMENTS = frozenset({"moved", "withdrawn", "customer_changed", "removed"})
"""Why the relay retires a device token without having been told by APNs."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A row of the ledger: installations of a push that ended alike. `attempt` 0 is the first."""

    push_id: UUID
    outcome: str
    reason: str
    attempt: int
    installations: Sequence[int]


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """A device token (hex) as the store has it at the end. Epoch milliseconds; `retired_reason` None: active."""

    token: str
    registered_ms: float
    retired_reason: str | None


@dataclass(kw_only=True)
class Evidence:
    """All that is compared. `outcomes` come in the order of push ids, so that one push is looked at at a time.

    `accepted`: by push that got a 202, its number of targets. `waiting`: by push, how many installations are still
    in the queue, in `rows_left` rows. `receipts`: by apns-id, how often APNs accepted it. `dead`: by device token,
    the latest moment (epoch ms) at which a 410 said that it was dead. `cancelled`: pushes that somebody cancelled.
    """

    accepted: Mapping[UUID, int]
    outcomes: Iterable[LedgerRow]
    receipts: Mapping[str, int]
    device_tokens: Iterable[DeviceToken] = ()
    dead: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[UUID, int] = field(default_factory=dict)
    cancelled: Set[UUID] = frozenset()
    rows_left: int = 0
    rows_held: int = 0
    may_repeat: int = 0
    """So many duplicates are explained: unsettled windows of kills, and answers that faults lost."""


@dataclass
class ChaosVerdict:
    """What came of it; installations throughout, unless it says otherwise.

    Attributes:
        pushes: accepted pushes (202).
        accepted: their targets.
        retried: of those, how many had ended only after another attempt.
        lost: without an outcome though not in the queue, or delivered by the ledger and never received.
        surplus: outcomes beyond one for each target.
        pending: still in the queue at the end.
        cancelled_unasked: ended as cancelled, though nobody cancelled the push.
        duplicates: receipts beyond one for each apns-id, and those of what ended as cancelled; `explained`: at most
            so many may be.
        wrongly_retired: device tokens retired though no 410 said that they were dead since their registration.
        kept_dead: device tokens that are active though a 410 said so.
        stuck: rows left in the queue that wait for no credential.
    """

    pushes: int = 0
    accepted: int = 0
    delivered: int = 0
    unregistered: int = 0
    expired: int = 0
    failed: int = 0
    cancelled: int = 0
    cancelled_unasked: int = 0
    retried: int = 0
    lost: int = 0
    surplus: int = 0
    pending: int = 0
    duplicates: int = 0
    explained: int = 0
    wrongly_retired: int = 0
    kept_dead: int = 0
    stuck: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Why targets failed or expired."""

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, each as a sentence."""
        zero = (
            *("lost", "surplus", "pending", "failed", "expired", "cancelled_unasked"),
            *("wrongly_retired", "kept_dead", "stuck"),
        )
        found = [f"{name} is {getattr(self, name)}, not 0" for name in zero if getattr(self, name)]
        if self.duplicates > self.explained:
            found.append(f"{self.duplicates} duplicates, of which {self.explained} are explained")
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def compare(evidence: Evidence) -> ChaosVerdict:
    """Hold what was promised against what happened."""
    verdict = ChaosVerdict(
        pushes=len(evidence.accepted),
        accepted=sum(evidence.accepted.values()),
        duplicates=sum(evidence.receipts.values()) - len(evidence.receipts),
        explained=evidence.may_repeat,
        stuck=evidence.rows_left - evidence.rows_held,
    )
    reasons: Counter[str] = Counter()
    unseen = set(evidence.accepted)
    for push_id, rows in groupby(evidence.outcomes, key=lambda row: row.push_id):
        if push_id in unseen:  # what got no 202 may be in the ledger too: nothing was promised
            unseen.remove(push_id)
            _look_at_push(verdict, evidence, push_id, list(rows), reasons)
    for push_id in unseen:
        _look_at_push(verdict, evidence, push_id, [], reasons)
    verdict.reasons = dict(reasons)
    for one in evidence.device_tokens:
        died = evidence.dead.get(one.token, -1) >= one.registered_ms
        if one.retired_reason is None:
            verdict.kept_dead += died
        elif one.retired_reason not in OWN_RETIREMENTS:
            verdict.wrongly_retired += not died
    return verdict


def _look_at_push(
    verdict: ChaosVerdict, evidence: Evidence, push_id: UUID, rows: list[LedgerRow], reasons: Counter[str]
) -> None:
    targets = evidence.accepted[push_id]
    apns_ids, received = ApnsIds(push_id), evidence.receipts
    ended: set[int] = set()
    total = 0
    for row in rows:
        count = len(row.installations)
        total += count
        ended.update(row.installations)
        verdict.retried += count if row.attempt else 0
        setattr(verdict, row.outcome, getattr(verdict, row.outcome) + count)
        if row.outcome == "delivered":
            verdict.lost += sum(apns_ids.derive(one) not in received for one in row.installations)
        elif row.outcome == "cancelled":
            verdict.cancelled_unasked += count if push_id not in evidence.cancelled else 0
            verdict.duplicates += sum(apns_ids.derive(one) in received for one in row.installations)
        elif row.outcome != "unregistered":
            reasons[f"{row.outcome}: {row.reason}"] += count
    waiting = evidence.waiting.get(push_id, 0)
    verdict.pending += waiting
    verdict.lost += max(0, targets - len(ended) - waiting)
    verdict.surplus += total - len(ended) + max(0, len(ended) - targets)
