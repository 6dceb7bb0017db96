"""What waits in the queue, counted for operators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from relay.store.database import Database
from relay.store.operations.queue_state import AppDepth, HeldDepth, QueueStateRepository, StateDepth

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def put(database: Database, app_id: str, due: int, size: int = 1, **columns: object) -> None:
    """A batch that is due in so many seconds, for so many installations."""
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, due_at, lease_owner, held_by, installations) "
            "VALUES ($1, $2, 1, $3, $4, $5, $6, $7)",
            app_id,
            uuid4(),
            size > 100,
            NOW + timedelta(seconds=due),
            columns.get("lease_owner"),
            columns.get("held_by"),
            list(range(size)),
        )


async def test_an_empty_queue(database: Database) -> None:
    state = await QueueStateRepository(database).read_queue_state(NOW)
    assert (state.batches, state.installations, state.oldest_due_seconds) == (0, 0, 0)
    assert (state.by_state, state.by_app, state.by_credential, state.at_least) == ([], [], [], False)


async def test_batches_are_counted_by_what_they_wait_for(database: Database) -> None:
    await put(database, "a", -60)
    await put(database, "a", -5, 2000)
    await put(database, "a", 20, 3, lease_owner=uuid4())
    await put(database, "a", -90, 2, lease_owner=uuid4())  # of a node that died
    await put(database, "b", 300, 5)
    await put(database, "b", -600, 150, held_by=7)
    await put(database, "b", 600, held_by=0)
    state = await QueueStateRepository(database).read_queue_state(NOW)
    assert (state.batches, state.installations) == (7, 1 + 2000 + 3 + 2 + 5 + 150 + 1)
    assert (state.due_batches, state.held_batches, state.leased) == (3, 2, 1)
    assert state.oldest_due_seconds == 90
    assert sorted(state.by_state) == [
        StateDepth("due", False, 2, 3),
        StateDepth("due", True, 1, 2000),
        StateDepth("held", False, 1, 1),
        StateDepth("held", True, 1, 150),
        StateDepth("later", False, 1, 5),
        StateDepth("leased", False, 1, 3),
    ]
    assert state.by_app == [AppDepth("a", 4, 2006, 90), AppDepth("b", 3, 156, 0)]
    assert sorted(state.by_credential) == [HeldDepth(0, 1), HeldDepth(7, 1)]


@pytest.mark.parametrize("size", [1, 13, 14, 15, 16, 100, 250, 260, 2000, 10_000])
async def test_targets_are_counted_without_being_read(database: Database, size: int) -> None:
    """Their number follows from the size in which PostgreSQL keeps them: in the row, or beside it."""
    await put(database, "a", 0, size)
    assert (await QueueStateRepository(database).read_queue_state(NOW)).installations == size


async def test_the_apps_with_the_most_batches_are_named(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, due_at, installations) "
            "SELECT 'app' || app, gen_random_uuid(), 1, false, $1, '{1}' "
            "FROM generate_series(1, 30) app, generate_series(1, app)",
            NOW,
        )
    state = await QueueStateRepository(database).read_queue_state(NOW)
    assert state.batches == 465
    assert [(one.app_id, one.batches) for one in state.by_app] == [
        (f"app{number}", number) for number in range(30, 10, -1)
    ]


async def test_what_else_waits(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("INSERT INTO broadcast VALUES ('a', $1, 'apns', false)", uuid4())
        await connection.execute(
            "INSERT INTO webhook_event (app_id, webhook_id, type, created_at, push_id, outcome, status, reason, "
            "installations, due_at) SELECT 'a', $1, 't', $2, $1, '', 0, '', '{}', $2 FROM generate_series(1, 3)",
            uuid4(),
            NOW,
        )
    state = await QueueStateRepository(database).read_queue_state(NOW)
    assert (state.broadcasts, state.channel_pushes, state.webhook_events) == (1, 0, 3)
