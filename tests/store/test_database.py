"""The database as all others see it: partitions come and go, and what passes is told from what does not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from relay.core.errors import Unavailable
from relay.core.ids import push_id
from relay.store.database import Database, TransactionConflict
from relay.store.embedded import EmbeddedPostgres
from relay.store.partitions import PartitionKeeper
from relay.store.schema_lock import hold_schema_lock
from tests.eventually import eventually

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MONTH = timedelta(days=30)


def at(moment: datetime) -> UUID:
    return push_id(int(moment.timestamp() * 1000), 1)


async def store_push(database: Database, push: UUID) -> None:
    """A push with a delivery, a trace, a batch and a broadcast."""
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO push VALUES ('a', $1, $2, now(), now(), 'alert', 10, 0, '', '', false, 1, 0)",
            push,
            uuid4(),
        )
        await connection.execute(
            "INSERT INTO delivery (app_id, push_id, batch_id, attempt, settled_at, outcome, status, reason, "
            "installations) VALUES ('a', $1, 1, 0, now(), 'delivered', 200, '', '{1}')",
            push,
        )
        await connection.execute("INSERT INTO trace VALUES ('a', $1, 1, 0, '{}')", push)
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, due_at, installations) "
            "VALUES ('a', $1, 1, false, now(), '{1}')",
            push,
        )
        await connection.execute("INSERT INTO broadcast VALUES ('a', $1, 'apns', false)", push)


async def places(database: Database, table: str) -> dict[UUID, str]:
    """Which partition each push's row is in."""
    async with database.connection() as connection:
        rows = await connection.fetch(f"SELECT push_id, tableoid::regclass::text AS place FROM {table}")
    return {row["push_id"]: row["place"] for row in rows}


async def test_a_connection_keeps_its_settings_when_it_is_used_again(database_url: str) -> None:
    database = await Database.connect(database_url, 1)
    for _ in range(3):
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
            assert await connection.fetchval("SHOW jit") == "off"
    await database.close()


async def test_what_is_in_the_default_partition_moves_to_its_day(database: Database) -> None:
    today, later, far = at(NOW), at(NOW + timedelta(days=2)), at(NOW + timedelta(days=100))
    for push in (today, later, far):
        await store_push(database, push)
    async with database.connection() as connection:
        before = await connection.fetch("SELECT * FROM delivery ORDER BY push_id")
    for _ in range(2):
        await PartitionKeeper(database).keep_partitions(NOW, MONTH)
        for table in ("push", "delivery", "trace"):
            assert await places(database, table) == {
                today: f"{table}_20260301",
                later: f"{table}_20260303",
                far: f"{table}_default",
            }
    async with database.connection() as connection:
        assert await connection.fetch("SELECT * FROM delivery ORDER BY push_id") == before
    await store_push(database, at(NOW + timedelta(days=200)))  # the default partition is in use again
    await store_push(database, at(NOW + timedelta(days=1)))


async def test_what_is_too_old_goes_with_its_batches(database: Database) -> None:
    await PartitionKeeper(database).keep_partitions(NOW, MONTH)
    old, kept = at(NOW), at(NOW + timedelta(days=1))
    ancient = at(NOW - timedelta(days=400))
    for push in (ancient, old, kept):
        await store_push(database, push)
    await PartitionKeeper(database).keep_partitions(NOW + timedelta(days=31), MONTH)
    for table in ("push", "delivery", "trace", "batch", "broadcast"):
        assert list(await places(database, table)) == [kept], table


async def test_a_backup_holds_up_the_partitions_and_nobody_else(database: Database) -> None:
    await store_push(database, at(NOW))
    async with database.transaction() as backup:
        await backup.execute("LOCK TABLE push, push_default, delivery_default IN ACCESS SHARE MODE")
        keeping = asyncio.create_task(PartitionKeeper(database).keep_partitions(NOW, MONTH))
        async with database.connection() as connection:

            async def read_until_kept() -> bool:  # others read and write all the time
                await connection.fetchval("SELECT count(*) FROM push")
                return keeping.done()

            await eventually(read_until_kept)
        with pytest.raises(Unavailable):
            await keeping
    await PartitionKeeper(database).keep_partitions(NOW, MONTH)
    assert await places(database, "push") == {at(NOW): "push_20260301"}


async def test_partitions_that_another_node_keeps_are_left_to_it(database: Database) -> None:
    async with hold_schema_lock(database, wait=True), asyncio.timeout(10):
        await PartitionKeeper(database).keep_partitions(NOW, MONTH)
    assert len(await places(database, "push")) == 0
    await PartitionKeeper(database).keep_partitions(NOW, MONTH)


async def test_a_transaction_that_nobody_goes_on_with_ends(database: Database) -> None:
    async with database.connection() as connection:
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "15s"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", Unavailable),
        ("25006", Unavailable),
        ("28P01", Unavailable),
        ("3D000", Unavailable),
        ("40001", TransactionConflict),
        ("40P01", TransactionConflict),
        ("53300", Unavailable),
        ("53100", Unavailable),
        ("55P03", Unavailable),
        ("57014", Unavailable),
        ("57P01", Unavailable),
        ("58030", Unavailable),
        ("23505", asyncpg.UniqueViolationError),
        ("23514", asyncpg.CheckViolationError),
        ("42601", asyncpg.PostgresSyntaxError),
        ("22012", asyncpg.DivisionByZeroError),
        ("25P02", asyncpg.InFailedSQLTransactionError),
    ],
)
async def test_what_passes_is_unavailable(database: Database, state: str, kind: type[Exception]) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(kind) as caught:
        async with database.transaction() as connection:
            await connection.execute(statement)
    if isinstance(caught.value, Unavailable):
        assert "secret" not in str(caught.value)
    if state == "53100":  # what reads still works, so the answer to a look at it says nothing
        with pytest.raises(Unavailable, match="full"):
            await database.ready()
    else:
        await database.ready()


@pytest.mark.parametrize("error", [asyncpg.InternalClientError(), asyncpg.InvalidCachedStatementError("x")])
async def test_a_confused_client_is_unavailable(database: Database, error: Exception) -> None:
    with pytest.raises(Unavailable):
        async with database.connection():
            raise error


@pytest.mark.parametrize(
    "rest", ["pa/secret@db/relay", "p@db:secret/relay", "p@[secret/relay", "p@db/relay?secret"]
)
async def test_a_url_that_cannot_be_read_is_not_shown(rest: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await Database.connect(f"postgresql://relay:{rest}", 1)
    assert "secret" not in str(caught.value)
    assert "URL" in str(caught.value)


async def test_a_database_that_does_not_exist(database_url: str) -> None:
    database = await Database.connect(database_url.replace("/test_", "/no_"), 1)
    with pytest.raises(Unavailable, match="InvalidCatalogNameError"):
        await database.ready()
    await database.close()


async def test_a_schema_that_is_not_made_yet_is_unavailable(postgres: EmbeddedPostgres) -> None:
    database = await Database.connect(postgres.url(), 1)
    with pytest.raises(Unavailable, match="schema"):
        async with database.connection() as connection:
            await connection.fetch("SELECT * FROM push")
    await database.close()


async def test_a_read_only_database_is_not_ready(database: Database, database_url: str) -> None:
    async with database.connection() as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    other = await Database.connect(database_url, 1)
    with pytest.raises(Unavailable, match="read-only"):
        await other.ready()
    await other.close()


async def test_notices_are_heard_until_the_connection_ends(database: Database) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = asyncio.create_task(database.listen("test", heard.put_nowait))
    assert await heard.get() == ""  # whatever was told before is unknown
    async with database.connection() as connection:
        await connection.execute("SELECT pg_notify('test', 'work')")
        assert await heard.get() == "work"
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
        )
    with pytest.raises(Unavailable):
        await listening
