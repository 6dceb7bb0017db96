"""The lock of the schema: one node at a time changes tables, whether it migrates or makes and drops partitions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relay.store.database import Connection, Database

SCHEMA_CHANGE_TIMEOUT_SECONDS = 3600.0
"""For one migration, and for waiting while another node migrates."""
_LOCK_KEY = 0x70757368
"""Key of the PostgreSQL advisory lock: "push" in ASCII."""
_TABLE_LOCK_TIMEOUT = "300ms"
"""The longest wait of a schema change for a table in use. All other users of the table wait behind it meanwhile."""


@asynccontextmanager
async def hold_schema_lock(database: Database, *, wait: bool) -> AsyncIterator[Connection | None]:
    """Yield a connection that holds the lock of the schema, or None if another node holds it and `wait` is false.

    Statements on this connection do not wait for a table that is read for long, by a backup for example: a waiting
    schema change blocks every other user of the table. If the lock cannot be released, the connection is closed, which
    releases it.

    Raises:
        Unavailable: The database is away, or a table is in use.
    """
    async with database.connection() as connection:
        try:
            if wait:
                await connection.execute(
                    "SELECT pg_advisory_lock($1)", _LOCK_KEY, timeout=SCHEMA_CHANGE_TIMEOUT_SECONDS
                )
            elif not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):
                yield None
                return
            await connection.execute(f"SET lock_timeout = '{_TABLE_LOCK_TIMEOUT}'")
            yield connection
            await connection.execute("RESET lock_timeout")
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK_KEY)
        except BaseException:
            connection.terminate()
            raise
