"""Send jobs on their way: decided when they end, or in parts when that takes long; none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest

from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.plan import SendJob
from relay.core.delivery.retry import Backoff
from relay.core.delivery.sending import DELIVERED, Answer, Credential, Fate, SendBatch
from relay.dispatch.decisions import DecisionMaker, Decisions
from relay.dispatch.fairness import Lanes
from relay.dispatch.sending import Sending
from relay.store.push.records import MAX_SMALL_BATCH_SIZE
from tests.eventually import eventually, loop_turns
from tests.factories import NOW, make_batch, make_credential, make_send_batch

REFUSED = Answer(Fate.ANSWERED, 403, "InvalidProviderToken")
ROOM = 1_000


class Handed:
    """Batches that the sender was handed."""

    def __init__(self, batches: Sequence[SendBatch], on_done: Callable[[], None], urgent: bool) -> None:
        self.batches = batches
        self.on_done = on_done
        self.urgent = urgent
        self.withdrawn = False

    def answer(self, *indexes: int, answer: Answer = DELIVERED) -> None:
        """Answer some pushes of the first batch; call back if those were the last."""
        for index in indexes:
            self.batches[0].answers[index] = answer
        if all(None not in batch.answers for batch in self.batches):
            self.on_done()


class Way:
    """Jobs on their way through a sender that answers when the test says so. It is sender, settler and clock."""

    def __init__(self, settle_interval: float = 3_600.0) -> None:
        self.handed: list[Handed] = []
        self.settled: list[Decisions] = []
        self.suspended: list[tuple[int, str]] = []
        self.lanes = Lanes(ROOM)
        self.decisions = DecisionMaker(Backoff(1.0, 60.0), lambda: 0.5)
        parts: Any = self
        self.sending = Sending(
            parts,
            self.lanes,
            self.decisions,
            parts,
            self,
            settle_interval=settle_interval,
            suspend=self._suspend,
        )

    def now(self) -> datetime:
        return NOW

    def submit(
        self,
        credential: Credential,
        batches: Sequence[SendBatch],
        on_done: Callable[[], None],
        *,
        urgent: bool = False,
    ) -> Handed:
        self.handed.append(Handed(batches, on_done, urgent))
        return self.handed[-1]

    def withdraw(self, handed: Handed) -> None:
        handed.withdrawn = True
        for batch in handed.batches:
            batch.answers[:] = [answer or Answer(Fate.NOT_SENT, 0, "Cancelled") for answer in batch.answers]
        handed.on_done()

    def add(self, decisions: Decisions) -> None:
        self.settled.append(decisions)

    def _suspend(self, credential: Credential, reason: str, sent_at: datetime) -> None:
        assert sent_at == NOW
        self.suspended.append((credential.credential_id, reason))

    def start(self, *sizes: int, team: int = 1) -> Handed:
        """Start a job of each of these sizes with one credential."""
        credential = make_credential(credential_id=team)
        jobs = []
        for size in sizes:
            ids = list(range(size))
            batch = make_batch(installations=ids)
            jobs.append(SendJob(batch, make_send_batch(size=size), ids, "t", None, credential))
        admitted, waiting = self.lanes.admit(team, jobs, NOW)
        assert not waiting
        self.sending.start(credential, admitted, NOW)
        return self.handed[-1]

    def outcomes(self) -> list[tuple[Outcome, str, list[int]]]:
        return [
            (part.outcome, part.reason, list(part.installations))
            for decisions in self.settled
            for part in decisions.outcomes
        ]

    def free(self) -> bool:
        """Whether nothing is counted as in flight."""
        return not self.lanes._lanes and not self.lanes._total


@pytest.fixture
async def way() -> Way:
    return Way()


async def test_what_ends_is_decided_once(way: Way) -> None:
    handed = way.start(3)
    handed.answer(0, 1)
    await loop_turns(3)
    assert way.settled == []
    handed.answer(2)
    await loop_turns(3)
    assert way.outcomes() == [(Outcome.DELIVERED, "", [0, 1, 2])]
    assert way.free()
    await way.sending.wait_until_idle()


async def test_a_sender_may_call_back_before_it_returns(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(
        credential: Credential, batches: Sequence[SendBatch], on_done: Callable[[], None], **_: Any
    ) -> Handed:
        handed = Handed(batches, on_done, False)
        way.handed.append(handed)
        handed.answer(0, 1)
        return handed

    monkeypatch.setattr(way, "submit", submit)
    way.start(2)
    await way.sending.wait_until_idle()
    assert way.outcomes() == [(Outcome.DELIVERED, "", [0, 1])]


async def test_one_that_takes_long_holds_up_no_other(way: Way) -> None:
    hanging, quick = way.start(2, team=1), way.start(2, team=2)
    quick.answer(0, 1)
    await eventually(way.outcomes)
    assert len(way.outcomes()) == 1
    assert not hanging.withdrawn
    assert not way.free()
    hanging.answer(0, 1)
    await way.sending.wait_until_idle()
    assert way.free()


async def test_what_takes_long_is_decided_in_parts() -> None:
    way = Way(settle_interval=0.02)
    handed = way.start(4, 2)
    handed.answer(1, 3)
    await eventually(way.outcomes)
    assert way.outcomes() == [(Outcome.DELIVERED, "", [1, 3])]
    await asyncio.sleep(0.05)  # some looks at what has been decided already
    handed.batches[1].answers[:] = [DELIVERED] * 2
    await eventually(lambda: len(way.outcomes()) == 2)
    handed.answer(0, 2)
    await way.sending.wait_until_idle()
    assert way.outcomes()[1:] == [(Outcome.DELIVERED, "", [0, 1]), (Outcome.DELIVERED, "", [0, 2])]
    assert way.free()
    await eventually(lambda: way.sending._look is None)


async def test_of_a_withdrawn_one_the_answers_are_decided_and_the_rest_is_not(way: Way) -> None:
    handed, unanswered = way.start(4), way.start(2, team=2)
    handed.answer(0, 3)
    way.sending.withdraw_all()
    assert handed.withdrawn
    assert unanswered.withdrawn
    await way.sending.wait_until_idle()
    await loop_turns(3)
    assert way.outcomes() == [(Outcome.DELIVERED, "", [0, 3])]
    assert way.free()


async def test_what_ended_in_this_moment_is_decided_when_all_is_withdrawn(way: Way) -> None:
    way.start(2).answer(0, 1)
    way.sending.withdraw_all()
    await loop_turns(3)
    assert way.outcomes() == [(Outcome.DELIVERED, "", [0, 1])]
    assert way.free()


async def test_a_refused_credential_is_suspended_once(way: Way) -> None:
    handed = way.start(2, 1)
    handed.batches[1].answers[:] = [REFUSED]
    handed.answer(0, 1, answer=REFUSED)
    await way.sending.wait_until_idle()
    assert way.suspended == [(1, "InvalidProviderToken")]
    assert way.outcomes() == []
    assert [again.held_by for decisions in way.settled for again in decisions.again] == [1, 1]


async def test_a_fault_of_ours_ends_its_own_part_only(
    way: Way, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    judge = way.decisions.judge

    def judge_or_fail(job: SendJob, *rest: Any) -> Decisions:
        if len(job) == 2:
            raise ValueError("a fault")
        return judge(job, *rest)

    monkeypatch.setattr(way.decisions, "judge", judge_or_fail)
    handed = way.start(2, 1)
    handed.batches[1].answers[:] = [DELIVERED]
    handed.answer(0, 1)
    await way.sending.wait_until_idle()
    assert way.outcomes() == [(Outcome.FAILED, "InternalError", [0, 1]), (Outcome.DELIVERED, "", [0])]
    assert "answers could not be judged" in caplog.text
    assert way.free()


async def test_small_batches_are_urgent(way: Way) -> None:
    assert way.start(MAX_SMALL_BATCH_SIZE).urgent
    assert not way.start(MAX_SMALL_BATCH_SIZE + 1, team=2).urgent
    way.sending.withdraw_all()


async def test_there_is_no_task_and_one_timer_for_all_teams(way: Way) -> None:
    tasks = asyncio.all_tasks()
    for team in range(100):
        way.start(1, team=team)
    assert asyncio.all_tasks() == tasks
    timers = [
        timer
        for timer in asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        if getattr(timer._callback, "__self__", None) is way.sending and not timer.cancelled()
    ]
    assert len(timers) == 1
    way.sending.withdraw_all()
