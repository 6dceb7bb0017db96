"""The state of the queue: counted by state, app and credential, and listed for one app."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from relay.store.database import Database
from relay.store.operations.queue_state import (
    AppDepth,
    BatchState,
    HeldDepth,
    QueueStateRepository,
    StateDepth,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def insert_batch(database: Database, app_id: str, due: int, size: int = 1, **columns: object) -> None:
    """Insert a batch of `size` installations that is due in `due` seconds."""
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


async def test_batches_are_counted_by_state_app_and_credential(database: Database) -> None:
    await insert_batch(database, "a", -60)
    await insert_batch(database, "a", -5, 2000)
    await insert_batch(database, "a", 20, 3, lease_owner=uuid4())
    await insert_batch(database, "a", -90, 2, lease_owner=uuid4())  # its node has died
    await insert_batch(database, "b", 300, 5)
    await insert_batch(database, "b", -600, 150, held_by=7)
    await insert_batch(database, "b", 600, held_by=0)
    state = await QueueStateRepository(database).read_queue_state(NOW)
    assert (state.batches, state.installations) == (7, 1 + 2000 + 3 + 2 + 5 + 150 + 1)
    assert (state.due_batches, state.held_batches, state.leased) == (3, 2, 1)
    assert state.oldest_due_seconds == 90
    assert sorted(state.by_state) == [
        StateDepth(BatchState.DUE, False, 2, 3),
        StateDepth(BatchState.DUE, True, 1, 2000),
        StateDepth(BatchState.HELD, False, 1, 1),
        StateDepth(BatchState.HELD, True, 1, 150),
        StateDepth(BatchState.LATER, False, 1, 5),
        StateDepth(BatchState.LEASED, False, 1, 3),
    ]
    assert state.by_app == [AppDepth("a", 4, 2006, 90), AppDepth("b", 3, 156, 0)]
    assert sorted(state.by_credential) == [HeldDepth(0, 1), HeldDepth(7, 1)]


@pytest.mark.parametrize("size", [1, 13, 14, 15, 16, 100, 250, 260, 2000, 10_000])
async def test_targets_are_counted_by_the_size_of_their_list(database: Database, size: int) -> None:
    """PostgreSQL stores a list in its row or outside of it; both sizes tell the number of its items."""
    await insert_batch(database, "a", 0, size)
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
    assert [(depth.app_id, depth.batches) for depth in state.by_app] == [
        (f"app{number}", number) for number in range(30, 10, -1)
    ]


async def test_broadcasts_and_webhook_events_are_counted(database: Database) -> None:
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


async def test_the_queue_of_one_app_lists_its_oldest_batches_first(database: Database) -> None:
    queue = QueueStateRepository(database)
    assert await queue.read_app_queue("chess", NOW, 3) is None, "there is no such app"
    async with database.connection() as connection:
        publisher_id, push_id = uuid4(), uuid4()
        await connection.execute("INSERT INTO publisher VALUES ($1, 'Ada', $2)", publisher_id, NOW)
        await connection.execute("INSERT INTO app VALUES ('chess', $1, 'Chess', $2)", publisher_id, NOW)
        await connection.execute("INSERT INTO broadcast VALUES ('chess', $1, 'apns', false)", push_id)
    await insert_batch(database, "go", -99)
    await insert_batch(database, "chess", 30, 3)
    await insert_batch(database, "chess", 20, 2, lease_owner=uuid4())
    await insert_batch(database, "chess", -5, 2000)
    await insert_batch(database, "chess", -600, held_by=7)
    app_queue = await queue.read_app_queue("chess", NOW, 3)
    assert app_queue is not None
    assert [(batch.state, batch.installations, batch.held_by) for batch in app_queue.batches] == [
        (BatchState.HELD, 1, 7),
        (BatchState.DUE, 2000, None),
        (BatchState.LEASED, 2, None),
    ]
    assert [(broadcast.push_id, broadcast.pieces) for broadcast in app_queue.broadcasts] == [(push_id, 0)]
