"""Inspection of the database server and of the schema in it. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from relay.store import sql
from relay.store.database import Database
from relay.store.migrations import list_migrations

_SQL = sql.load(__package__, "inspection.sql")


@dataclass(frozen=True, slots=True)
class ServerState:
    """The version, the settings and the load of a PostgreSQL server.

    `reserved` of its `max_connections` are for superusers; `in_use` counts the connections to all its databases.
    `data_directory` is a path on the server's machine, or None if the relay's role may not read it.
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
class SchemaState:
    """The migrations of a database: how many are applied, and names of those that are missing or of another version."""

    applied: int
    pending: list[str]
    unknown: list[str]


class InspectionRepository:
    """The state of the server and of the schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def inspect_server(self) -> ServerState:
        """Return the state of the server. Raises Unavailable."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["server"])
        assert row is not None  # a SELECT without FROM returns one row
        return ServerState(**row)

    async def inspect_schema(self) -> SchemaState:
        """Return which migrations are applied. Raises Unavailable."""
        async with self._database.connection() as connection:
            rows = []
            if await connection.fetchval(_SQL["has_migrations"]):
                rows = await connection.fetch(_SQL["applied_migrations"])
        applied = [row["name"] for row in rows]
        known = [migration.name for migration in list_migrations()]
        return SchemaState(
            applied=len(applied),
            pending=[name for name in known if name not in applied],
            unknown=[name for name in applied if name not in known],
        )
