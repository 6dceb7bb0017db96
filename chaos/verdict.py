"""The comparison of accepted pushes, APNs' receipts and the ledger. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any
from uuid import UUID

from relay.core.ids import ApnsIds, InstallationId, PushId

OWN_RETIREMENTS = frozenset({"moved", "withdrawn", "customer_changed", "removed"})
"""Reasons for which the relay retires a device token without an answer of APNs."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A row of the ledger: installations of a push with one outcome. `attempt` 0 is the first."""

    push_id: UUID
    outcome: str
    reason: str
    attempt: int
    installations: Sequence[InstallationId]


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """A device token (hex) at the end of the run. Times are epoch ms. `retired_reason` is None if it is active."""

    token: str
    registered_ms: float
    retired_reason: str | None


@dataclass(kw_only=True)
class Evidence:
    """The evidence of a run. `outcomes` are in the order of push ids, so that one push is compared at a time.

    `accepted`: number of targets by push with a 202. `waiting`: number of installations still in the queue by push, in
    `rows_left` rows. `receipts`: number of acceptances by APNs by apns-id. `dead`: the latest time (epoch ms) of death
    that a 410 named, by device token. `cancelled`: pushes that a publisher cancelled.
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
    """Number of duplicates that kills (unsettled pushes) and faults (lost answers) explain."""


@dataclass
class ChaosVerdict:
    """The result of the comparison. Counts are of installations unless the list says otherwise.

    Attributes:
        pushes: accepted pushes (202).
        accepted: their targets.
        retried: targets that ended after more than one attempt.
        lost: targets without an outcome and not in the queue, or delivered by the ledger and never received.
        surplus: outcomes beyond one for each target.
        pending: targets in the queue at the end.
        cancelled_unasked: targets that ended as cancelled though their push was not cancelled.
        duplicates: receipts beyond one for each apns-id, and receipts of targets that ended as cancelled.
        explained: the greatest number of duplicates that kills and faults explain.
        wrongly_retired: device tokens retired without a 410 that named a time of death after their registration.
        kept_dead: device tokens that are active in spite of such a 410.
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
        """The broken promises, each as a sentence."""
        must_be_zero = (
            *("lost", "surplus", "pending", "failed", "expired", "cancelled_unasked"),
            *("wrongly_retired", "kept_dead", "stuck"),
        )
        broken = [f"{name} is {getattr(self, name)}, not 0" for name in must_be_zero if getattr(self, name)]
        if self.duplicates > self.explained:
            broken.append(f"{self.duplicates} duplicates, of which {self.explained} are explained")
        return broken

    def as_json(self) -> dict[str, Any]:
        """Return all fields in an object for JSON."""
        return asdict(self)


def compare(evidence: Evidence) -> ChaosVerdict:
    """Return the verdict on the evidence: the promises of 202s against receipts and ledger."""
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
        if push_id in unseen:  # a push without a 202 may be in the ledger too
            unseen.remove(push_id)
            _count_push(verdict, evidence, push_id, list(rows), reasons)
    for push_id in unseen:
        _count_push(verdict, evidence, push_id, [], reasons)
    verdict.reasons = dict(reasons)
    for device_token in evidence.device_tokens:
        died = evidence.dead.get(device_token.token, -1) >= device_token.registered_ms
        if device_token.retired_reason is None:
            verdict.kept_dead += died
        elif device_token.retired_reason not in OWN_RETIREMENTS:
            verdict.wrongly_retired += not died
    return verdict


def _count_push(
    verdict: ChaosVerdict, evidence: Evidence, push_id: UUID, rows: list[LedgerRow], reasons: Counter[str]
) -> None:
    targets = evidence.accepted[push_id]
    apns_ids, received = ApnsIds(PushId(push_id)), evidence.receipts
    ended: set[int] = set()
    total = 0
    for row in rows:
        count = len(row.installations)
        total += count
        ended.update(row.installations)
        verdict.retried += count if row.attempt else 0
        setattr(verdict, row.outcome, getattr(verdict, row.outcome) + count)
        if row.outcome == "delivered":
            verdict.lost += sum(
                apns_ids.derive(installation) not in received for installation in row.installations
            )
        elif row.outcome == "cancelled":
            verdict.cancelled_unasked += count if push_id not in evidence.cancelled else 0
            verdict.duplicates += sum(
                apns_ids.derive(installation) in received for installation in row.installations
            )
        elif row.outcome != "unregistered":
            reasons[f"{row.outcome}: {row.reason}"] += count
    waiting = evidence.waiting.get(push_id, 0)
    verdict.pending += waiting
    verdict.lost += max(0, targets - len(ended) - waiting)
    verdict.surplus += total - len(ended) + max(0, len(ended) - targets)
