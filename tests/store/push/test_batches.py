"""Leases on batches: one node at a time, taken over when a node is gone, and shared fairly between apps."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from relay.store.push.records import Lease
from tests.store.push.batch_queue import HERE, LATER, NOW, THERE, BatchQueue

AN_HOUR = timedelta(hours=1)


async def test_a_batch_is_leased_by_one_node_only(queue: BatchQueue) -> None:
    await queue.put(3)
    [batch] = await queue.lease(HERE)
    assert list(batch.installations) == [0, 1, 2]
    assert await queue.lease(THERE) == []


async def test_a_lease_is_extended_only_by_its_owner(queue: BatchQueue) -> None:
    await queue.put(1)
    [batch] = await queue.lease(HERE)
    await queue.batches.extend_leases(THERE, [batch], LATER + 2 * AN_HOUR)
    await queue.batches.extend_leases(HERE, [batch], LATER + AN_HOUR)
    assert await queue.lease(THERE, LATER) == []
    assert len(await queue.lease(THERE, LATER + AN_HOUR)) == 1


async def test_extending_leases_does_not_wait_for_a_settlement(queue: BatchQueue) -> None:
    """Both lock many rows: if they waited for each other, PostgreSQL would roll one of them back."""
    await queue.put(1)
    await queue.put(1)
    first, second = await queue.lease(HERE)
    async with queue.database.transaction() as settling:
        await settling.execute("SELECT FROM batch WHERE batch_id = $1 FOR UPDATE", first.batch_id)
        async with asyncio.timeout(30):
            await queue.batches.extend_leases(HERE, [first, second], LATER + AN_HOUR)
    assert [batch.batch_id for batch in await queue.lease(THERE, LATER)] == [first.batch_id]


async def test_a_node_that_shuts_down_releases_its_batches(queue: BatchQueue) -> None:
    await queue.put(1)
    await queue.lease(HERE)
    await queue.batches.release_batches(HERE, NOW)
    assert len(await queue.lease(THERE)) == 1


async def test_a_batch_stored_under_a_lease_is_taken_over_when_the_lease_ends(queue: BatchQueue) -> None:
    await queue.put(1, lease=Lease(HERE, LATER))
    assert await queue.lease(THERE) == []
    assert len(await queue.lease(THERE, LATER)) == 1


async def test_apps_take_turns(queue: BatchQueue) -> None:
    for _ in range(20):
        await queue.put(1, "loud")
    await queue.put(1, "quiet")
    leased = Counter(batch.app_id for batch in await queue.lease(small=4))
    assert leased["quiet"] == 1
    assert leased["loud"] >= 1


async def test_bulk_batches_do_not_delay_small_ones(queue: BatchQueue) -> None:
    await queue.put(1000, batch_size=200)
    single = await queue.put(1)
    leased = await queue.lease(bulk=1)
    assert single in {batch.push_id for batch in leased}
    assert len(leased) == 2


async def test_apps_whose_batches_are_all_held_use_up_no_place(queue: BatchQueue) -> None:
    async with queue.database.connection() as connection:
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, held_by, installations) "
            "SELECT 'held' || n, gen_random_uuid(), n, n % 2 = 0, 0, $1, 7, '{1}' FROM generate_series(1, 2000) n",
            NOW + timedelta(days=1),
        )
    single = await queue.put(1, "quiet")
    large = await queue.put(200, "quiet")
    assert {batch.push_id for batch in await queue.lease(small=4, bulk=2)} == {single, large}


async def test_apps_with_bulk_batches_only_use_up_no_place_of_small_ones(queue: BatchQueue) -> None:
    for number in range(20):
        await queue.put(200, f"large{number}")
    singles = {await queue.put(1, f"quiet{number}") for number in range(4)}
    assert {batch.push_id for batch in await queue.lease(small=4, bulk=0)} == singles
    assert len(await queue.lease(small=4, bulk=3)) == 3


async def test_waiting_batches_are_counted_up_to_the_limit(queue: BatchQueue) -> None:
    await queue.put(6, batch_size=2)
    await queue.put(1, "other")
    apps = ["app", "other", "idle"]
    assert await queue.batches.count_waiting_batches(apps, 100) == {"app": 3, "other": 1, "idle": 0}
    assert await queue.batches.count_waiting_batches(apps, 2) == {"app": 2, "other": 1, "idle": 0}
