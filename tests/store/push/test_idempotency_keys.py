"""Idempotency keys: dropped in pieces after their day."""

from __future__ import annotations

from datetime import timedelta

from relay.store.database import Database
from relay.store.push.idempotency_keys import IdempotencyKeyRepository
from tests.factories import NOW


async def test_old_keys_are_dropped_in_pieces(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO idempotency_key SELECT 'app', int4send(n), '', gen_random_uuid(), '', "
            "$1::timestamptz - n * interval '1 hour' FROM generate_series(0, 9) n",
            NOW,
        )
    keys = IdempotencyKeyRepository(database)
    assert await keys.drop_oldest_keys(NOW - timedelta(hours=2), max_keys=3) == 3
    await keys.drop_keys_before(NOW - timedelta(hours=2), piece_size=2)
    async with database.connection() as connection:
        left = await connection.fetch("SELECT created_at FROM idempotency_key ORDER BY created_at DESC")
    assert [row["created_at"] for row in left] == [NOW - timedelta(hours=n) for n in (0, 1, 2)]
