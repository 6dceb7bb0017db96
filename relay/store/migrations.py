"""The migrations of the schema: `migrations/*.sql`, applied once each, in the order of their names."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

from relay.store.database import Database
from relay.store.schema_lock import SCHEMA_CHANGE_TIMEOUT_SECONDS, hold_schema_lock


class Migration(NamedTuple):
    """A step of the schema: the name of its file, and the statements in it."""

    name: str
    statements: str


def list_migrations() -> list[Migration]:
    """Return all migrations of this version in the order in which they are applied."""
    files = resources.files("relay.store").joinpath("migrations").iterdir()
    return sorted(
        Migration(file.name, file.read_text(encoding="utf-8")) for file in files if file.name.endswith(".sql")
    )


class SchemaMigrator:
    """The way from any earlier schema to that of this version."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply_migrations(self) -> None:
        """Apply the migrations that the database lacks, in order, each in a transaction of its own.

        Nodes that start together take turns: the first applies them, the others then find nothing to do.

        Raises:
            Unavailable: The database is away or read-only, or another node migrates for more than an hour.
        """
        async with hold_schema_lock(self._database, wait=True) as connection:
            assert connection is not None  # it waited for the lock
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL)"
            )
            applied = {row["name"] for row in await connection.fetch("SELECT name FROM migration")}
            for migration in list_migrations():
                if migration.name not in applied:
                    async with connection.transaction():
                        await connection.execute(migration.statements, timeout=SCHEMA_CHANGE_TIMEOUT_SECONDS)
                        await connection.execute("INSERT INTO migration VALUES ($1, now())", migration.name)
