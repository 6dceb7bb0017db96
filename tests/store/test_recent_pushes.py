"""An app's latest pushes: in which order, in which state, and what is counted of them."""

from __future__ import annotations

from itertools import count
from uuid import UUID

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE
from relay.store.push import cancellation
from relay.store.push.queue import Settlement
from relay.store.push.recent_pushes import MOST_ROWS, RecentPush, RecentPushes
from tests.store.test_queue import NOW, Queue, delivered


@pytest.fixture
def line(database: Database) -> Queue:
    return Queue(database, count(1))


async def latest(database: Database, before: UUID | None = None, limit: int = 10) -> list[RecentPush]:
    return await RecentPushes(database).page("app", before, limit)


async def settle(line: Queue, *batches: ClaimedBatch) -> None:
    await line.settle(Settlement(ended=list(batches), outcomes=[delivered(batch) for batch in batches]))


async def test_the_newest_is_first_and_pages_follow_each_other(line: Queue, database: Database) -> None:
    made = [await line.put(1) for _ in range(5)]
    await line.put(1, app_id="other")
    assert [push.push_id for push in await latest(database)] == made[::-1]
    first = await latest(database, limit=2)
    assert [push.push_id for push in first] == [made[4], made[3]]
    assert [push.push_id for push in await latest(database, first[-1].push_id)] == made[2::-1]


async def test_the_state_is_that_of_the_push(line: Queue, database: Database) -> None:
    done = await line.put(3)
    await settle(line, *await line.claim())
    half = await line.put(4, batch_size=2)
    first, _ = await line.claim()
    await settle(line, first)
    cancelled, queued = await line.put(2), await line.put(1)
    await cancellation.cancel(database, "app", cancelled, None, NOW, COMMAND_LINE)
    shown = {push.push_id: (push.state, push.targets, push.counts) for push in await latest(database)}
    assert shown == {
        done: ("done", 3, {"delivered": 3}),
        half: ("sending", 4, {"delivered": 2}),
        cancelled: ("cancelled", 2, {"cancelled": 2}),
        queued: ("queued", 1, {}),
    }


async def test_what_has_many_outcomes_is_not_counted(line: Queue, database: Database) -> None:
    large = await line.put(MOST_ROWS + 1, batch_size=1)
    await settle(line, *await line.claim())
    [shown] = await latest(database)
    assert (shown.push_id, shown.state, shown.counts) == (large, "done", None)
