"""The pool: settings of connections, errors that may pass, readiness, and notices."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from relay.core.errors import Unavailable
from relay.store.database import Database, TransactionConflict
from relay.store.embedded import EmbeddedPostgres


async def test_a_connection_keeps_its_settings_when_it_is_reused(database_url: str) -> None:
    database = await Database.connect(database_url, 1)
    for _ in range(3):
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
            assert await connection.fetchval("SHOW jit") == "off"
    await database.close()


async def test_an_idle_transaction_is_ended_by_the_server(database: Database) -> None:
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
async def test_an_error_that_may_pass_is_unavailable(
    database: Database, state: str, kind: type[Exception]
) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(kind) as caught:
        async with database.transaction() as connection:
            await connection.execute(statement)
    if isinstance(caught.value, Unavailable):
        assert "secret" not in str(caught.value)
    if state == "53100":  # reads still work on a full disk, so their success proves nothing
        with pytest.raises(Unavailable, match="full"):
            await database.ready()
    else:
        await database.ready()


@pytest.mark.parametrize("error", [asyncpg.InternalClientError(), asyncpg.InvalidCachedStatementError("x")])
async def test_an_internal_error_of_the_client_is_unavailable(database: Database, error: Exception) -> None:
    with pytest.raises(Unavailable):
        async with database.connection():
            raise error


@pytest.mark.parametrize(
    "rest", ["pa/secret@db/relay", "p@db:secret/relay", "p@[secret/relay", "p@db/relay?secret"]
)
async def test_an_unreadable_url_does_not_appear_in_the_error(rest: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await Database.connect(f"postgresql://relay:{rest}", 1)
    assert "secret" not in str(caught.value)
    assert "URL" in str(caught.value)


async def test_a_missing_database_is_not_ready(database_url: str) -> None:
    database = await Database.connect(database_url.replace("/test_", "/no_"), 1)
    with pytest.raises(Unavailable, match="InvalidCatalogNameError"):
        await database.ready()
    await database.close()


async def test_a_missing_schema_is_unavailable(postgres: EmbeddedPostgres) -> None:
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


async def test_notices_arrive_until_the_connection_ends(database: Database) -> None:
    received: asyncio.Queue[str] = asyncio.Queue()
    listening = asyncio.create_task(database.listen("test", received.put_nowait))
    assert await received.get() == ""  # notices sent earlier are unknown
    async with database.connection() as connection:
        await connection.execute("SELECT pg_notify('test', 'work')")
        assert await received.get() == "work"
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
        )
    with pytest.raises(Unavailable):
        await listening
