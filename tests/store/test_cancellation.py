"""Cancelling a push: nothing more of it is begun, and each of its targets has one outcome, whoever is at work."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE
from relay.store.push import cancellation, pushes
from relay.store.push.queue import DeliveryOutcome, Retry, Settlement
from tests.eventually import loop_turns
from tests.store.test_broadcasts import Audience
from tests.store.test_queue import HERE, LATER, NOW, THERE, Queue, delivered

AN_HOUR = timedelta(hours=1)


@pytest.fixture
def line(database: Database) -> Queue:
    return Queue(database, count(1))


async def cancel(database: Database, push: UUID, now: datetime = NOW) -> None:
    await cancellation.cancel(database, "app", push, None, now, COMMAND_LINE)


async def outcomes(database: Database, push: UUID) -> dict[str, int]:
    """Counts by outcome; no installation has two."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT outcome, unnest(installations) AS id FROM delivery WHERE push_id = $1", push
        )
    assert max(Counter(row["id"] for row in rows).values(), default=1) == 1
    return dict(Counter(row["outcome"] for row in rows))


async def rows_left(database: Database, push: UUID) -> int:
    async with database.connection() as connection:
        left: int = await connection.fetchval("SELECT count(*) FROM batch WHERE push_id = $1", push)
    return left


async def is_cancelled(database: Database, push: UUID) -> bool:
    async with database.connection() as connection:
        row = await pushes.find(connection, ["app"], push)
    assert row is not None
    return row["cancelled_at"] is not None


async def test_what_waits_ends_at_once_and_no_other_push_does(line: Queue, database: Database) -> None:
    made, other = await line.put(7, batch_size=3), await line.put(2)
    await cancel(database, made)
    assert await outcomes(database, made) == {"cancelled": 7}
    assert {batch.push_id for batch in await line.claim()} == {other}
    assert not await is_cancelled(database, other)


async def test_more_batches_than_a_transaction_ends(
    line: Queue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancellation, "_PIECE", 2)
    made = await line.put(7, batch_size=1)
    await cancel(database, made)
    assert await outcomes(database, made) == {"cancelled": 7}


async def test_retries_and_what_waits_for_a_credential_end_too(line: Queue, database: Database) -> None:
    made = await line.put(4, batch_size=2)
    first, second = await line.claim()
    retry = Retry(first, 1, NOW + AN_HOUR, None, "ServiceUnavailable", first.installations)
    held = Retry(second, 0, NOW + AN_HOUR, 7, "CredentialSuspended", second.installations)
    await line.settle(Settlement(ended=[first, second], again=[retry, held]))
    await cancel(database, made)
    assert await outcomes(database, made) == {"cancelled": 4}
    assert await rows_left(database, made) == 0


async def test_what_is_under_way_ends_as_it_ends_but_is_not_tried_again(
    line: Queue, database: Database
) -> None:
    made = await line.put(4)
    [batch] = await line.claim()
    await cancel(database, made)
    assert await outcomes(database, made) == {}
    part = DeliveryOutcome(batch, "delivered", 200, "", [0])
    await line.settle(Settlement(remaining=[(batch, [1, 2, 3])], outcomes=[part]))
    rest = DeliveryOutcome(batch, "unregistered", 410, "Unregistered", [1])
    retry = Retry(batch, 1, NOW + AN_HOUR, None, "ServiceUnavailable", [2, 3])
    await line.settle(Settlement(ended=[batch], outcomes=[rest], again=[retry]))
    assert await outcomes(database, made) == {"delivered": 1, "unregistered": 1, "cancelled": 2}
    assert await rows_left(database, made) == 0


async def test_what_a_node_left_behind_ends(line: Queue, database: Database) -> None:
    made = await line.put(3)
    [batch] = await line.claim(HERE)
    await cancel(database, made, LATER)
    assert await outcomes(database, made) == {"cancelled": 3}
    await line.settle(Settlement(ended=[batch], outcomes=[delivered(batch)]), HERE, LATER)
    assert await outcomes(database, made) == {"cancelled": 3}, "its answer came too late"


async def test_what_was_under_way_when_its_node_died_is_not_sent_by_the_next(
    line: Queue, database: Database
) -> None:
    made = await line.put(3)
    await line.claim(HERE)
    await cancel(database, made)
    [taken] = await line.claim(THERE, LATER)
    assert taken.cancelled
    assert not (await line.claim(THERE, LATER))


async def test_a_retry_that_a_node_of_the_version_before_wrote_is_not_sent(
    line: Queue, database: Database
) -> None:
    made = await line.put(3)
    [batch] = await line.claim()
    await cancel(database, made)
    async with database.connection() as connection:
        await connection.execute("UPDATE batch SET cancelled = false, lease_owner = NULL, due_at = $1", NOW)
    [retried] = await line.claim()
    assert (retried.batch_id, retried.cancelled) == (batch.batch_id, True)


async def test_what_has_ended_stays_as_it_is(line: Queue, database: Database) -> None:
    made = await line.put(3)
    [batch] = await line.claim()
    await line.settle(Settlement(ended=[batch], outcomes=[delivered(batch)]))
    await cancel(database, made)
    assert not await is_cancelled(database, made)
    assert await outcomes(database, made) == {"delivered": 3}


async def test_a_second_time_changes_nothing_and_is_one_entry_in_the_log(
    line: Queue, database: Database
) -> None:
    made = await line.put(3)
    await asyncio.gather(*(cancel(database, made) for _ in range(4)))
    await cancel(database, made, LATER)
    assert await outcomes(database, made) == {"cancelled": 3}
    async with database.connection() as connection:
        logged = await connection.fetch("SELECT subject FROM audit WHERE action = 'push.cancelled'")
    assert [row["subject"] for row in logged] == [str(made)]


async def test_a_broadcast_is_cut_no_further(database: Database) -> None:
    audience = Audience(database)
    await audience.app("app", 100)
    push, other = await audience.send("app"), await audience.send("app")
    cut = await audience.cut()
    assert cut
    await cancel(database, push)
    assert await audience.targets("app", push) == (cut, False)
    assert await outcomes(database, push) == {"cancelled": cut}
    while await audience.cut() is not None:
        pass
    assert (await audience.targets("app", push))[0] == cut
    assert (await audience.targets("app", other))[0] == len(await audience.reachable("app"))


async def test_a_broadcast_that_has_not_begun_has_no_targets(database: Database) -> None:
    audience = Audience(database)
    await audience.app("app", 10)
    push = await audience.send("app")
    await cancel(database, push)
    assert await is_cancelled(database, push)
    assert await audience.cut() is None
    assert await audience.targets("app", push) == (0, False)


class Node:
    """Works off the queue as the dispatcher does: some is delivered, some is tried again."""

    def __init__(self, line: Queue, chance: random.Random) -> None:
        self._line = line
        self._chance = chance
        self._owner = uuid4()
        self.sent: list[ClaimedBatch] = []

    async def turn(self) -> bool:
        """Whether there was any work."""
        claimed = await self._line.claim(self._owner, small=3)
        sending = [batch for batch in claimed if not batch.cancelled]
        self.sent += sending
        unsent = [
            DeliveryOutcome(batch, "cancelled", 0, "Cancelled", batch.installations)
            for batch in claimed
            if batch.cancelled
        ]
        await asyncio.sleep(self._chance.random() * 0.01)  # plays a slow APNs
        outcomes, again = unsent, []
        for batch in sending:
            half = len(batch.installations) // 2
            outcomes.append(DeliveryOutcome(batch, "delivered", 200, "", batch.installations[half:]))
            if half:
                due = NOW + timedelta(hours=self._chance.randrange(2))
                rest = batch.installations[:half]
                again.append(Retry(batch, batch.attempt + 1, due, None, "ServiceUnavailable", rest))
        await self._line.settle(Settlement(ended=claimed, outcomes=outcomes, again=again), self._owner)
        return bool(claimed)


async def work(node: Node, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await node.turn()
        await loop_turns()


@pytest.mark.parametrize("seed", range(5))
async def test_each_target_has_one_outcome_whoever_is_at_work(
    line: Queue, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    made = await line.put(300, batch_size=4)
    nodes = [Node(line, chance) for _ in range(3)]
    stopping = asyncio.Event()
    working = [asyncio.create_task(work(node, stopping)) for node in nodes]
    await asyncio.sleep(chance.random() * 0.2)  # any moment of the work is a good one to cancel
    await cancel(database, made)
    stopping.set()
    await asyncio.gather(*working)
    last = Node(line, chance)
    for _ in range(2):
        while await last.turn():
            pass
        async with (
            database.connection() as connection
        ):  # what was locked when it was cancelled, and is due later
            await connection.execute("UPDATE batch SET due_at = $1", NOW)
    assert last.sent == [], "nothing of it is begun any more"
    assert sum((await outcomes(database, made)).values()) == 300
    assert await rows_left(database, made) == 0


async def test_nobody_waits_for_a_cancellation_nor_it_for_them(line: Queue, database: Database) -> None:
    made = await line.put(2, batch_size=1)
    async with database.transaction() as settling:
        await settling.execute("SELECT FROM batch ORDER BY batch_id LIMIT 1 FOR UPDATE")
        async with asyncio.timeout(30):
            await cancel(database, made)
    assert await outcomes(database, made) == {"cancelled": 1}
    [left] = await line.claim()
    assert left.cancelled
