"""Pushes read back: an app's recent pushes, their order, state and counts."""

from __future__ import annotations

from uuid import UUID

from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.plan import ClaimedBatch
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE
from relay.store.push.cancellation import CancellationRepository
from relay.store.push.records import RecentPush, Settlement
from relay.store.push.reports import MAX_COUNTED_ROWS, PushReportRepository
from tests.store.push.batch_queue import NOW, BatchQueue, delivered


async def latest(database: Database, before: UUID | None = None, limit: int = 10) -> list[RecentPush]:
    return await PushReportRepository(database).list_recent_pushes("app", before, limit)


async def settle(queue: BatchQueue, *batches: ClaimedBatch) -> None:
    await queue.settle(Settlement(ended=list(batches), outcomes=[delivered(batch) for batch in batches]))


async def test_recent_pushes_come_newest_first_in_pages(queue: BatchQueue, database: Database) -> None:
    pushes = [await queue.put(1) for _ in range(5)]
    await queue.put(1, app_id="other")
    assert [push.push_id for push in await latest(database)] == pushes[::-1]
    first = await latest(database, limit=2)
    assert [push.push_id for push in first] == [pushes[4], pushes[3]]
    assert [push.push_id for push in await latest(database, first[-1].push_id)] == pushes[2::-1]


async def test_a_recent_push_has_its_state_and_counts(queue: BatchQueue, database: Database) -> None:
    done = await queue.put(3)
    await settle(queue, *await queue.lease())
    half = await queue.put(4, batch_size=2)
    first, _ = await queue.lease()
    await settle(queue, first)
    cancelled, queued = await queue.put(2), await queue.put(1)
    await CancellationRepository(database).cancel_push("app", cancelled, None, NOW, COMMAND_LINE)
    shown = {push.push_id: (push.state, push.targets, push.counts) for push in await latest(database)}
    assert shown == {
        done: ("done", 3, {"delivered": 3}),
        half: ("sending", 4, {"delivered": 2}),
        cancelled: ("cancelled", 2, {"cancelled": 2}),
        queued: ("queued", 1, {}),
    }


async def test_a_push_with_many_outcome_rows_is_not_counted(queue: BatchQueue, database: Database) -> None:
    large = await queue.put(MAX_COUNTED_ROWS + 1, batch_size=1)
    await settle(queue, *await queue.lease())
    [shown] = await latest(database)
    assert (shown.push_id, shown.state, shown.counts) == (large, "done", None)


async def test_a_push_is_found_by_its_app_only(queue: BatchQueue, database: Database) -> None:
    push = await queue.put(3)
    reports = PushReportRepository(database)
    stored = await reports.find_push(["other", "app"], push)
    assert stored is not None
    assert (stored.push_id, stored.app_id, stored.targets, stored.growing) == (push, "app", 3, False)
    assert await reports.find_push(["other"], push) is None


async def test_pushes_without_waiting_batches_have_ended(queue: BatchQueue, database: Database) -> None:
    ended = await queue.put(1)
    await settle(queue, *await queue.lease())
    waiting = await queue.put(1)
    reports = PushReportRepository(database)
    assert await reports.find_ended_pushes({ended: "app", waiting: "app"}) == {ended}


async def test_pages_of_deliveries_follow_each_other(queue: BatchQueue, database: Database) -> None:
    push = await queue.put(5, batch_size=2)
    await settle(queue, *await queue.lease())
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO installation OVERRIDING SYSTEM VALUE SELECT 'app', n, gen_random_uuid(), n, n, '', 'b', 't', "
            "NULL, '', n, $1 FROM generate_series(0, 4) n",
            NOW,
        )
        await connection.execute("INSERT INTO scoped_identifier VALUES ('app', 'c', 2, 'c_2')")
    reports = PushReportRepository(database)
    pages, after = [], (0, 0)
    while page := await reports.list_deliveries("app", push, after, 2):
        pages.append(page)
        after = page[-1].delivery_id, page[-1].position
    assert [len(page) for page in pages] == [2, 2, 1]
    deliveries = [delivery for page in pages for delivery in page]
    assert {(delivery.outcome, delivery.status, delivery.attempt) for delivery in deliveries} == {
        (Outcome.DELIVERED, 200, 0)
    }
    assert sorted(delivery.customer or "" for delivery in deliveries) == ["", "", "", "", "c_2"]
