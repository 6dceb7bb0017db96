"""The stored apps of publishers."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from relay.store.accounts.apps import AppRepository
from relay.store.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_the_app_ids_of_a_publisher_are_listed(database: Database) -> None:
    ada, bob = uuid4(), uuid4()
    async with database.connection() as connection:
        for publisher_id, app_ids in ((ada, ("chess", "go")), (bob, ("draughts",))):
            await connection.execute("INSERT INTO publisher VALUES ($1, 'P', $2)", publisher_id, NOW)
            for app_id in app_ids:
                await connection.execute(
                    "INSERT INTO app VALUES ($1, $2, 'A', $3)", app_id, publisher_id, NOW
                )
    apps = AppRepository(database)
    assert sorted(await apps.list_app_ids(ada)) == ["chess", "go"]
    assert await apps.list_app_ids(bob) == ["draughts"]
    assert await apps.list_app_ids(uuid4()) == []
