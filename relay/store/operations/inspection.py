"""SQL of looking at the server itself: what it is, what it is doing, whether its schema is ours. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from relay.store.database import Database
from relay.store.migrations import list_migrations

# A setting that this role may not read is missing in pg_settings, where current_setting would fail.
_SERVER = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS version_number,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       current_setting('max_connections')::integer AS max_connections,
       current_setting('superuser_reserved_connections')::integer AS reserved,
       (SELECT sum(numbackends)::integer FROM pg_stat_database) AS in_use,
       (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
       (SELECT setting FROM pg_settings WHERE name = 'fsync') AS fsync,
       (SELECT setting FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL. `reserved` of its `max_connections` are for superusers; `in_use` counts all its databases.

    `data_directory` is a path on its machine, None where our role may not know it.
    """

    version: str
    version_number: int
    read_only: bool
    max_connections: int
    reserved: int
    in_use: int
    data_directory: str | None
    fsync: str
    synchronous_commit: str


@dataclass(frozen=True, slots=True)
class Schema:
    """Names of migrations: those that this version has and the database lacks, and those that it has from elsewhere."""

    applied: int
    pending: list[str]
    unknown: list[str]


async def inspect_server(database: Database) -> Server:
    """What the server is. Raises Unavailable."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_SERVER)
    assert row is not None  # it has one row
    return Server(**row)


async def inspect_schema(database: Database) -> Schema:
    """Which migrations were applied. Raises Unavailable."""
    async with database.connection() as connection:
        rows = []
        if await connection.fetchval("SELECT to_regclass('migration') IS NOT NULL"):
            rows = await connection.fetch("SELECT name FROM migration ORDER BY name")
    applied = [row["name"] for row in rows]
    known = [migration.name for migration in list_migrations()]
    return Schema(
        applied=len(applied),
        pending=[name for name in known if name not in applied],
        unknown=[name for name in applied if name not in known],
    )
