"""Settlement over a real queue: nothing twice, and nothing kept in memory for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.core.delivery.retry import Backoff
from relay.dispatch.decisions import DecisionMaker, Decisions
from relay.dispatch.settlement import Settler
from relay.store.database import Database
from relay.store.push.acceptance import AcceptanceRepository
from relay.store.push.batches import BatchRepository
from relay.store.push.records import DeliveryOutcome, Retry, Settlement, Trace
from relay.store.push.reports import PushReportRepository
from relay.store.push.settlement import SettlementRepository
from tests.eventually import loop_turns
from tests.factories import make_batch, make_push_request, make_route

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE, THERE = uuid4(), uuid4()


class Node:
    """A settler with its clock, and a push of three installations to settle."""

    def __init__(
        self,
        database: Database,
        on_ended: Callable[[Sequence[ClaimedBatch]], None] = lambda batches: None,
        settle_interval: float = 0.0,
    ) -> None:
        self._database = database
        self._ids = count(1)
        self.time = NOW
        self.settler = Settler(
            database,
            HERE,
            self,
            lambda: next(self._ids),
            settle_interval=settle_interval,
            lease=30,
            wake_at=lambda again: None,
            on_ended=on_ended,
        )

    def now(self) -> datetime:
        return self.time

    async def put(self, installations: int = 3) -> UUID:
        request = make_push_request(number=next(self._ids))
        route = make_route(installations=range(installations))
        async with self._database.connection() as connection:
            await AcceptanceRepository(self._database).store_pushes(
                connection, [request], [route], [None], 2000, lambda: next(self._ids)
            )
        return request.push_id

    async def claim(self, owner: UUID = HERE) -> list[ClaimedBatch]:
        lease_end = self.time + timedelta(seconds=30)
        return await BatchRepository(self._database).lease_batches(owner, self.time, lease_end, 500, 10)

    async def settled(self) -> None:
        while self.settler._writing is not None:
            await asyncio.wait({self.settler._writing})

    async def outcomes(self, made: UUID) -> list[tuple[str, str, int]]:
        return list(await PushReportRepository(self._database).count_outcomes("app", made))


@pytest.fixture
def node(database: Database) -> Node:
    return Node(database)


def delivered(batch: ClaimedBatch, *installations: int) -> Decisions:
    return Decisions([DeliveryOutcome(batch, "delivered", 200, "", installations or batch.installations)])


async def test_what_is_under_way_is_not_begun_again_by_the_same_node(node: Node) -> None:
    """As after an outage of the database that was longer than a lease."""
    made = await node.put()
    [batch] = node.settler.open(await node.claim())
    node.settler.add(delivered(batch, 0))
    await node.settled()
    node.time += timedelta(minutes=1)
    claimed = await node.claim()
    assert [one.batch_id for one in claimed] == [batch.batch_id]
    assert node.settler.open(claimed) == []
    node.settler.add(delivered(batch, 1, 2))
    await node.settled()
    assert node.settler.in_flight == 0
    assert await node.outcomes(made) == [("delivered", "", 3)]


async def test_late_answers_of_a_batch_that_was_lost_count_for_nothing(node: Node) -> None:
    made = await node.put()
    [former] = node.settler.open(await node.claim())
    node.time += timedelta(minutes=1)
    await node.claim(THERE)
    node.settler.add(delivered(former, 0))
    await node.settled()
    node.time += timedelta(minutes=1)
    [batch] = node.settler.open(await node.claim())
    node.settler.add(delivered(former, 1, 2))
    node.settler.add(delivered(batch))
    await node.settled()
    assert node.settler.in_flight == 0
    assert await node.outcomes(made) == [("delivered", "", 3)]


async def test_what_has_ended_is_ours_until_that_is_written(node: Node) -> None:
    await node.put()
    claimed = await node.claim()
    [batch] = node.settler.open(claimed)
    node.settler.add(delivered(batch))  # the writer has not had its turn yet
    assert node.settler.open(claimed) == []
    await node.settled()
    assert node.settler.open(claimed) == claimed


def unwritable(made: UUID) -> Trace:
    """PostgreSQL's JSON takes no NUL."""
    return Trace("app", made, 9, 0, '{"answer": {"apns_unique_id": "\\u0000"}}')


async def test_what_cannot_be_written_harms_no_other(node: Node, database: Database) -> None:
    made = await node.put()
    [batch] = node.settler.open(await node.claim())
    later = NOW + timedelta(seconds=5)
    again = Retry(batch, 1, later, None, "ServiceUnavailable", [0])
    node.settler.add(Decisions(again=[again], traces=[unwritable(made), Trace("app", made, 9, 1, "{}")]))
    await loop_turns()  # it is being written; the rest of the batch goes with the next
    node.settler.add(delivered(batch, 1, 2))
    await node.settled()
    assert await node.outcomes(made) == [("delivered", "", 2)]
    assert node.settler.in_flight == 0
    async with database.connection() as connection:
        waiting = await connection.fetch("SELECT installations, last_reason FROM batch")
        traces = await connection.fetchval("SELECT count(*) FROM trace")
    assert [tuple(row) for row in waiting] == [([0], "ServiceUnavailable")]
    assert traces == 1


async def test_a_batch_whose_first_part_could_not_be_written_comes_back_whole(
    node: Node, database: Database
) -> None:
    """Its later part, which could be written, must not be all that is ever known of it."""
    made, others = await node.put(), await node.put()
    batches = {batch.push_id: batch for batch in node.settler.open(await node.claim())}
    batch = batches[made]
    refused = Decisions([DeliveryOutcome(batch, "delivered", 200, "\0", [0])])  # PostgreSQL takes no NUL
    node.settler.add(refused)
    node.settler.add(delivered(batches[others]))
    await loop_turns()
    node.settler.add(delivered(batch, 1, 2))
    await node.settled()
    assert await node.outcomes(made) == []
    assert await node.outcomes(others) == [("delivered", "", 3)]
    assert node.settler.in_flight == 0
    node.time += timedelta(minutes=1)
    [whole] = node.settler.open(await node.claim())
    assert sorted(whole.installations) == [0, 1, 2]
    node.settler.add(delivered(whole))
    await node.settled()
    assert await node.outcomes(made) == [("delivered", "", 3)]


async def test_what_is_answered_and_not_written_is_in_flight(node: Node) -> None:
    await node.put(100)
    [batch] = node.settler.open(await node.claim())
    node.settler.add(delivered(batch))
    assert node.settler.in_flight == 100
    await node.settled()
    assert node.settler.in_flight == 0


async def test_a_batch_that_another_node_settled_in_part_is_begun_anew(
    node: Node, database: Database
) -> None:
    made = await node.put(100)
    [former] = node.settler.open(await node.claim())
    node.time += timedelta(seconds=31)
    [theirs] = await node.claim(THERE)
    settled, left = list(range(60)), list(range(60, 100))
    part = Settlement(
        remaining=[(theirs, left)], outcomes=[DeliveryOutcome(theirs, "delivered", 200, "", settled)]
    )
    async with database.connection() as connection:
        lease_end = node.time + timedelta(seconds=30)
        await SettlementRepository().settle_batches(connection, THERE, part, node.time, lease_end, lambda: 1)
    node.time += timedelta(seconds=31)
    [batch] = node.settler.open(await node.claim())
    assert sorted(batch.installations) == left
    node.settler.add(delivered(former))
    node.settler.add(delivered(batch))
    await node.settled()
    assert node.settler.in_flight == 0
    assert sum(number for *_, number in await node.outcomes(made)) == 100


def test_held_pushes_are_looked_at_soon_once_and_then_seldom() -> None:
    judge = DecisionMaker(Backoff(0.1, 900), lambda: 1.0)
    first = make_batch(attempt=3)
    again = judge.hold(first, 7, [1], NOW)
    assert (again.due_at - NOW, again.attempt, again.held_by) == (timedelta(seconds=3), 3, 7)
    second = make_batch(batch_id=2, attempt=3, last_reason=again.reason)
    assert judge.hold(second, 7, [1], NOW).due_at - NOW == timedelta(seconds=900)
