"""How much of an app may wait: a full queue lets nobody in but who finds out that it is not full any more."""

from __future__ import annotations

import pytest

from relay.core.errors import Unavailable
from relay.dispatch.backlog import Backlog
from relay.store.database import Database

LIMIT = 10


def passed(backlog: Backlog, now: float, app_id: str = "full") -> int:
    """How many of a thousand requests at that moment are let in."""
    count = 0
    for _ in range(1000):
        try:
            backlog.check(app_id, now)
        except Unavailable:
            continue
        count += 1
    return count


@pytest.fixture
async def backlog(database: Database) -> Backlog:
    """Of an app whose queue is full since 0.0."""
    made = Backlog(LIMIT)
    await _fill(database, LIMIT)
    await made.count(database, ["full", "empty"], 0.0)
    return made


async def _fill(database: Database, batches: int) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, installations) "
            "SELECT 'full', gen_random_uuid(), n, false, 0, now(), '{1}' FROM generate_series(1, $1::int) n",
            batches,
        )


async def test_one_push_finds_out_whether_a_full_queue_still_is(backlog: Backlog) -> None:
    assert passed(backlog, 0.5) == 0
    assert passed(backlog, 1.5) == 1, "not everybody who comes before the next count"
    assert passed(backlog, 2.0) == 0
    assert passed(backlog, 2.6) == 1, "if that one came to nothing, another does"
    assert passed(backlog, 0.5, "empty") == passed(backlog, 0.5, "unknown") == 1000


async def test_a_queue_that_was_worked_off_takes_everything_again(
    database: Database, backlog: Backlog
) -> None:
    assert passed(backlog, 1.5) == 1
    assert backlog.stored({"full": 1}, 1.6) == ["full"]
    await backlog.count(database, ["full"], 1.6)
    assert passed(backlog, 1.7) == 0
    async with database.connection() as connection:
        await connection.execute("DELETE FROM batch WHERE app_id = 'full'")
    assert passed(backlog, 2.7) == 1
    assert backlog.stored({"full": 1}, 2.8) == ["full"]
    await backlog.count(database, ["full"], 2.8)
    assert passed(backlog, 2.9) == 1000
