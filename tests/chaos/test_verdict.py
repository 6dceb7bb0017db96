"""The comparison reports each kind of broken promise: a check that cannot fail proves nothing."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from chaos.verdict import DeviceToken, Evidence, LedgerRow, compare
from relay.core.ids import ApnsIds

PUSH, OTHER = UUID(int=1), UUID(int=2)


def receipts(push: UUID, *installations: int) -> dict[str, int]:
    return {ApnsIds(push).derive(installation): 1 for installation in installations}


def make_evidence() -> Evidence:
    """Return evidence without a fault: three targets delivered, one of them at the second attempt, and a dead token."""
    return Evidence(
        accepted={PUSH: 3, OTHER: 1},
        outcomes=[
            LedgerRow(PUSH, "delivered", "", 0, [1, 2]),
            LedgerRow(PUSH, "delivered", "", 1, [3]),
            LedgerRow(OTHER, "unregistered", "Unregistered", 0, [4]),
        ],
        receipts=receipts(PUSH, 1, 2, 3),
        device_tokens=[
            DeviceToken("aa", 1000.0, None),
            DeviceToken("bb", 1000.0, "Unregistered"),
            DeviceToken("cc", 1000.0, "moved"),
        ],
        dead={"bb": 1000, "aa": 900},
    )


def test_evidence_without_a_fault_breaks_no_promise():
    verdict = compare(make_evidence())
    assert verdict.broken == []
    assert (verdict.pushes, verdict.accepted, verdict.delivered, verdict.unregistered) == (2, 4, 3, 1)
    assert (verdict.retried, verdict.duplicates, verdict.lost) == (1, 0, 0)


def test_a_target_without_an_outcome_is_lost():
    evidence = make_evidence()
    evidence.outcomes = [LedgerRow(PUSH, "delivered", "", 0, [1, 2]), *list(evidence.outcomes)[2:]]
    assert compare(evidence).lost == 1
    assert compare(evidence).broken == ["lost is 1, not 0"]


def test_a_target_of_a_cancelled_push_has_ended():
    evidence = make_evidence()
    evidence.outcomes = [
        LedgerRow(PUSH, "delivered", "", 0, [1, 2]),
        LedgerRow(PUSH, "cancelled", "Cancelled", 1, [3]),
        *list(evidence.outcomes)[2:],
    ]
    evidence.receipts = receipts(PUSH, 1, 2)
    evidence.cancelled = {PUSH}
    verdict = compare(evidence)
    assert (verdict.broken, verdict.delivered, verdict.cancelled) == ([], 2, 1)
    evidence.cancelled = {OTHER}
    assert compare(evidence).broken == ["cancelled_unasked is 1, not 0"]
    evidence.cancelled = {PUSH}
    evidence.receipts = receipts(PUSH, 1, 2, 3)
    assert compare(evidence).duplicates == 1, "it arrived, though by the ledger it was not sent"


def test_a_push_without_outcomes_is_lost():
    evidence = make_evidence()
    evidence.accepted = {**evidence.accepted, UUID(int=3): 7}
    assert compare(evidence).lost == 7


def test_a_delivered_target_without_a_receipt_is_lost():
    evidence = make_evidence()
    evidence.receipts = receipts(PUSH, 1, 2)
    assert compare(evidence).lost == 1
    evidence.receipts = receipts(OTHER, 1, 2, 3)
    assert compare(evidence).lost == 3, "the receipts are of another push"


def test_a_target_in_the_queue_is_pending_and_its_row_stuck():
    evidence = make_evidence()
    evidence.outcomes = list(evidence.outcomes)[:1] + list(evidence.outcomes)[2:]
    evidence.waiting, evidence.rows_left = {PUSH: 1}, 1
    verdict = compare(evidence)
    assert (verdict.lost, verdict.pending, verdict.stuck) == (0, 1, 1)
    assert len(verdict.broken) == 2
    evidence.rows_held = 1
    assert compare(evidence).stuck == 0


def test_an_empty_row_in_the_queue_is_stuck():
    evidence = make_evidence()
    evidence.rows_left = 1
    assert compare(evidence).broken == ["stuck is 1, not 0"]


@pytest.mark.parametrize(("may_repeat", "broken"), [(0, True), (1, True), (2, False)])
def test_duplicates_beyond_the_explained_ones_break_a_promise(may_repeat: int, broken: bool):
    evidence = make_evidence()
    evidence.receipts = {apns_id: 3 if number == 0 else 1 for number, apns_id in enumerate(evidence.receipts)}
    evidence.may_repeat = may_repeat
    verdict = compare(evidence)
    assert verdict.duplicates == 2
    assert bool(verdict.broken) is broken


def test_an_installation_that_ended_twice_is_surplus():
    evidence = make_evidence()
    evidence.outcomes = [LedgerRow(PUSH, "delivered", "", 0, [1, 2, 3]), *evidence.outcomes]
    assert compare(evidence).surplus == 3


def test_an_outcome_beyond_the_targets_is_surplus():
    evidence = make_evidence()
    evidence.accepted = {PUSH: 2, OTHER: 1}
    assert compare(evidence).surplus == 1


@pytest.mark.parametrize("outcome", ["failed", "expired"])
def test_a_failed_or_expired_target_is_reported_with_its_reason(outcome: str):
    evidence = make_evidence()
    evidence.outcomes = [
        replace(row, outcome=outcome, reason="InternalError") if row.push_id == OTHER else row
        for row in evidence.outcomes
    ]
    verdict = compare(evidence)
    assert verdict.broken == [f"{outcome} is 1, not 0"]
    assert verdict.reasons == {f"{outcome}: InternalError": 1}


@pytest.mark.parametrize("dead", [{}, {"bb": 999}])
def test_a_token_retired_without_a_410_is_reported(dead: dict[str, int]):
    evidence = make_evidence()
    evidence.dead = dead
    assert compare(evidence).broken == ["wrongly_retired is 1, not 0"]


def test_a_dead_token_that_is_active_is_reported():
    evidence = make_evidence()
    evidence.dead = {**evidence.dead, "aa": 1000}
    assert compare(evidence).broken == ["kept_dead is 1, not 0"]


def test_a_push_without_a_202_is_not_compared():
    evidence = make_evidence()
    evidence.accepted = {OTHER: 1}
    verdict = compare(evidence)
    assert (verdict.accepted, verdict.delivered, verdict.broken) == (1, 0, [])
