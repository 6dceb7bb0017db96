"""Migrations: applied once, in order, by one of several nodes that start together."""

from __future__ import annotations

import asyncio

import pytest

from relay.store.database import Database
from relay.store.migrations import SchemaMigrator, list_migrations


@pytest.fixture
def template() -> str:
    return "template1"


async def test_nodes_that_start_together_apply_each_migration_once(database: Database) -> None:
    migrator = SchemaMigrator(database)
    await asyncio.gather(*(migrator.apply_migrations() for _ in range(3)))
    async with database.connection() as connection:
        applied = await connection.fetch("SELECT name FROM migration ORDER BY applied_at, name")
        assert await connection.fetchval("SELECT count(*) FROM push") == 0
    assert [row["name"] for row in applied] == [migration.name for migration in list_migrations()]


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [int(migration.name.partition("_")[0]) for migration in list_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
