"""Cancelling a push: nothing more of it is sent, and each target has one outcome, whichever nodes are at work."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE
from relay.store.push import cancellation
from relay.store.push.cancellation import CancellationRepository
from relay.store.push.records import DeliveryOutcome, Retry, Settlement
from relay.store.push.reports import PushReportRepository
from tests.eventually import loop_turns
from tests.store.push.audience import Audience
from tests.store.push.batch_queue import HERE, LATER, NOW, THERE, BatchQueue, delivered

AN_HOUR = timedelta(hours=1)


async def cancel(database: Database, push: UUID, now: datetime = NOW) -> None:
    await CancellationRepository(database).cancel_push("app", push, None, now, COMMAND_LINE)


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
    stored = await PushReportRepository(database).find_push(["app"], push)
    assert stored is not None
    return stored.cancelled_at is not None


async def test_waiting_batches_end_at_once_and_no_other_push_does(
    queue: BatchQueue, database: Database
) -> None:
    push, other = await queue.put(7, batch_size=3), await queue.put(2)
    await cancel(database, push)
    assert await outcomes(database, push) == {"cancelled": 7}
    assert {batch.push_id for batch in await queue.lease()} == {other}
    assert not await is_cancelled(database, other)


async def test_more_batches_than_one_transaction_ends(
    queue: BatchQueue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancellation, "_MAX_BATCHES_PER_TRANSACTION", 2)
    push = await queue.put(7, batch_size=1)
    await cancel(database, push)
    assert await outcomes(database, push) == {"cancelled": 7}


async def test_retries_and_held_batches_end_too(queue: BatchQueue, database: Database) -> None:
    push = await queue.put(4, batch_size=2)
    first, second = await queue.lease()
    retry = Retry(first, 1, NOW + AN_HOUR, None, "ServiceUnavailable", first.installations)
    held = Retry(second, 0, NOW + AN_HOUR, 7, "CredentialSuspended", second.installations)
    await queue.settle(Settlement(ended=[first, second], retries=[retry, held]))
    await cancel(database, push)
    assert await outcomes(database, push) == {"cancelled": 4}
    assert await rows_left(database, push) == 0


async def test_a_batch_under_a_lease_ends_as_it_ends_without_retries(
    queue: BatchQueue, database: Database
) -> None:
    push = await queue.put(4)
    [batch] = await queue.lease()
    await cancel(database, push)
    assert await outcomes(database, push) == {}
    part = DeliveryOutcome(batch, "delivered", 200, "", [0])
    await queue.settle(Settlement(remaining=[(batch, [1, 2, 3])], outcomes=[part]))
    rest = DeliveryOutcome(batch, "unregistered", 410, "Unregistered", [1])
    retry = Retry(batch, 1, NOW + AN_HOUR, None, "ServiceUnavailable", [2, 3])
    await queue.settle(Settlement(ended=[batch], outcomes=[rest], retries=[retry]))
    assert await outcomes(database, push) == {"delivered": 1, "unregistered": 1, "cancelled": 2}
    assert await rows_left(database, push) == 0


async def test_batches_of_a_dead_node_end(queue: BatchQueue, database: Database) -> None:
    push = await queue.put(3)
    [batch] = await queue.lease(HERE)
    await cancel(database, push, LATER)
    assert await outcomes(database, push) == {"cancelled": 3}
    await queue.settle(Settlement(ended=[batch], outcomes=[delivered(batch)]), HERE, LATER)
    assert await outcomes(database, push) == {"cancelled": 3}, "the answer came too late"


async def test_a_cancelled_batch_that_is_taken_over_says_so(queue: BatchQueue, database: Database) -> None:
    push = await queue.put(3)
    await queue.lease(HERE)
    await cancel(database, push)
    [taken] = await queue.lease(THERE, LATER)
    assert taken.cancelled
    assert not (await queue.lease(THERE, LATER))


async def test_a_retry_written_by_a_node_of_the_version_before_is_marked_as_cancelled(
    queue: BatchQueue, database: Database
) -> None:
    push = await queue.put(3)
    [batch] = await queue.lease()
    await cancel(database, push)
    async with database.connection() as connection:
        await connection.execute("UPDATE batch SET cancelled = false, lease_owner = NULL, due_at = $1", NOW)
    [retried] = await queue.lease()
    assert (retried.batch_id, retried.cancelled) == (batch.batch_id, True)


async def test_a_push_that_has_ended_stays_as_it_is(queue: BatchQueue, database: Database) -> None:
    push = await queue.put(3)
    [batch] = await queue.lease()
    await queue.settle(Settlement(ended=[batch], outcomes=[delivered(batch)]))
    await cancel(database, push)
    assert not await is_cancelled(database, push)
    assert await outcomes(database, push) == {"delivered": 3}


async def test_cancelling_again_changes_nothing_and_writes_no_second_audit_entry(
    queue: BatchQueue, database: Database
) -> None:
    push = await queue.put(3)
    await asyncio.gather(*(cancel(database, push) for _ in range(4)))
    await cancel(database, push, LATER)
    assert await outcomes(database, push) == {"cancelled": 3}
    async with database.connection() as connection:
        logged = await connection.fetch("SELECT subject FROM audit WHERE action = 'push.cancelled'")
    assert [row["subject"] for row in logged] == [str(push)]


async def test_a_broadcast_is_cut_no_further(database: Database) -> None:
    audience = Audience(database)
    await audience.app("app", 100)
    push, other = await audience.send("app"), await audience.send("app")
    cut = await audience.cut()
    assert cut
    await cancel(database, push)
    assert await audience.targets("app", push) == (cut, False)
    assert await outcomes(database, push) == {"cancelled": cut}
    await audience.cut_all()
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
    """A node that delivers half of each batch and retries the rest, as the dispatcher might."""

    def __init__(self, queue: BatchQueue, chance: random.Random) -> None:
        self._queue = queue
        self._chance = chance
        self._owner = uuid4()
        self.sent: list[ClaimedBatch] = []

    async def turn(self) -> bool:
        """Lease, send and settle. Returns whether there was work."""
        leased = await self._queue.lease(self._owner, small=3)
        sending = [batch for batch in leased if not batch.cancelled]
        self.sent += sending
        unsent = [
            DeliveryOutcome(batch, "cancelled", 0, "Cancelled", batch.installations)
            for batch in leased
            if batch.cancelled
        ]
        await asyncio.sleep(self._chance.random() * 0.01)  # plays a slow APNs
        outcomes, retries = unsent, []
        for batch in sending:
            half = len(batch.installations) // 2
            outcomes.append(DeliveryOutcome(batch, "delivered", 200, "", batch.installations[half:]))
            if half:
                due = NOW + timedelta(hours=self._chance.randrange(2))
                rest = batch.installations[:half]
                retries.append(Retry(batch, batch.attempt + 1, due, None, "ServiceUnavailable", rest))
        await self._queue.settle(Settlement(ended=leased, outcomes=outcomes, retries=retries), self._owner)
        return bool(leased)


async def work(node: Node, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await node.turn()
        await loop_turns()


@pytest.mark.parametrize("seed", range(5))
async def test_each_target_has_one_outcome_while_several_nodes_work(
    queue: BatchQueue, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    push = await queue.put(300, batch_size=4)
    nodes = [Node(queue, chance) for _ in range(3)]
    stopping = asyncio.Event()
    working = [asyncio.create_task(work(node, stopping)) for node in nodes]
    await asyncio.sleep(chance.random() * 0.2)  # any moment of the work is a good one to cancel
    await cancel(database, push)
    stopping.set()
    await asyncio.gather(*working)
    last = Node(queue, chance)
    for _ in range(2):
        while await last.turn():
            pass
        async with (
            database.connection() as connection
        ):  # what was locked when it was cancelled, and is due later
            await connection.execute("UPDATE batch SET due_at = $1", NOW)
    assert last.sent == [], "nothing is sent after the cancellation"
    assert sum((await outcomes(database, push)).values()) == 300
    assert await rows_left(database, push) == 0


async def test_a_cancellation_does_not_wait_for_locked_rows(queue: BatchQueue, database: Database) -> None:
    push = await queue.put(2, batch_size=1)
    async with database.transaction() as settling:
        await settling.execute("SELECT FROM batch ORDER BY batch_id LIMIT 1 FOR UPDATE")
        async with asyncio.timeout(30):
            await cancel(database, push)
    assert await outcomes(database, push) == {"cancelled": 1}
    [left] = await queue.lease()
    assert left.cancelled
