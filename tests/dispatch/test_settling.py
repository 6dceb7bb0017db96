"""Settlement over a real queue: nothing twice, and nothing kept in memory for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from relay.core.accepting import PushRequest
from relay.core.ids import push_id
from relay.core.retry import Backoff
from relay.core.routing import ClaimedBatch, Copy, Route
from relay.core.sending import PushHeaders
from relay.dispatch.judging import Judge, Judged
from relay.dispatch.settling import Settler
from relay.store import pushes, queue
from relay.store.database import Database
from relay.store.queue import Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE, THERE = uuid4(), uuid4()


class Node:
    """A settler with its clock, and a push of three installations to settle."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids = count(1)
        self.time = NOW
        self.settler = Settler(
            database, HERE, self, lambda: next(self._ids), lease=30, wake_at=lambda again: None
        )

    def now(self) -> datetime:
        return self.time

    async def put(self, installations: int = 3) -> UUID:
        made = push_id(int(NOW.timestamp() * 1000), next(self._ids))
        headers = PushHeaders("alert", 10)
        later = NOW + timedelta(days=1)
        request = PushRequest("app", made, uuid4(), NOW, later, headers, "apns", b"{}", False, [], [])
        copies = {n: Copy(n, "b", "t", None, b"") for n in range(installations)}
        async with self._database.connection() as connection:
            await pushes.insert(
                connection, [request], [Route(copies, 0, [])], [None], 2000, lambda: next(self._ids)
            )
        return made

    async def claim(self, owner: UUID = HERE) -> list[ClaimedBatch]:
        async with self._database.connection() as connection:
            lease_end = self.time + timedelta(seconds=30)
            return await queue.claim(connection, owner, self.time, lease_end, 500, 10)

    async def settled(self) -> None:
        while self.settler._writing is not None:
            await asyncio.wait({self.settler._writing})

    async def outcomes(self, made: UUID) -> list[tuple[str, str, int]]:
        async with self._database.connection() as connection:
            return await pushes.counts(connection, "app", made)


@pytest.fixture
def node(database: Database) -> Node:
    return Node(database)


def delivered(batch: ClaimedBatch, *installations: int) -> Judged:
    return Judged([Outcome(batch, "delivered", 200, "", installations or batch.installations)])


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


def test_held_pushes_are_looked_at_soon_once_and_then_seldom() -> None:
    judge = Judge(Backoff(2, 900), lambda: 1.0)
    first = ClaimedBatch(
        "app", push_id(1, 1), 1, 3, [1], b"{}", PushHeaders("alert", 10), NOW, NOW + timedelta(days=1)
    )
    again = judge.hold(first, 7, [1], NOW)
    assert (again.due_at - NOW, again.attempt, again.held_by) == (timedelta(seconds=2), 3, 7)
    second = ClaimedBatch(
        "app",
        push_id(1, 1),
        2,
        3,
        [1],
        b"{}",
        PushHeaders("alert", 10),
        NOW,
        NOW + timedelta(days=1),
        again.reason,
    )
    assert judge.hold(second, 7, [1], NOW).due_at - NOW == timedelta(seconds=900)
