"""Daily partitions: made ahead, dropped after the retention, and never in the way of reads and writes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from relay.core.errors import Unavailable
from relay.core.ids import make_uuid7
from relay.store.database import Database
from relay.store.partitions import PartitionKeeper
from relay.store.schema_lock import hold_schema_lock
from tests.eventually import eventually

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MONTH = timedelta(days=30)


def push_id_at(moment: datetime) -> UUID:
    return make_uuid7(int(moment.timestamp() * 1000), 1)


async def store_push(database: Database, push: UUID) -> None:
    """Store a push with a delivery, a trace, a batch and a broadcast."""
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


async def partitions_of(database: Database, table: str) -> dict[UUID, str]:
    """Return the partition of each row by push id."""
    async with database.connection() as connection:
        rows = await connection.fetch(f"SELECT push_id, tableoid::regclass::text AS partition FROM {table}")
    return {row["push_id"]: row["partition"] for row in rows}


@pytest.fixture
def keeper(database: Database) -> PartitionKeeper:
    return PartitionKeeper(database)


async def test_rows_in_the_default_partition_move_to_their_day(
    database: Database, keeper: PartitionKeeper
) -> None:
    today, later, far = (
        push_id_at(NOW),
        push_id_at(NOW + timedelta(days=2)),
        push_id_at(NOW + timedelta(days=100)),
    )
    for push in (today, later, far):
        await store_push(database, push)
    async with database.connection() as connection:
        before = await connection.fetch("SELECT * FROM delivery ORDER BY push_id")
    for _ in range(2):
        await keeper.keep_partitions(NOW, MONTH)
        for table in ("push", "delivery", "trace"):
            assert await partitions_of(database, table) == {
                today: f"{table}_20260301",
                later: f"{table}_20260303",
                far: f"{table}_default",
            }
    async with database.connection() as connection:
        assert await connection.fetch("SELECT * FROM delivery ORDER BY push_id") == before
    await store_push(
        database, push_id_at(NOW + timedelta(days=200))
    )  # the default partition accepts rows again
    await store_push(database, push_id_at(NOW + timedelta(days=1)))


async def test_days_past_the_retention_are_dropped_with_their_batches(
    database: Database, keeper: PartitionKeeper
) -> None:
    await keeper.keep_partitions(NOW, MONTH)
    old, kept = push_id_at(NOW), push_id_at(NOW + timedelta(days=1))
    ancient = push_id_at(NOW - timedelta(days=400))
    for push in (ancient, old, kept):
        await store_push(database, push)
    await keeper.keep_partitions(NOW + timedelta(days=31), MONTH)
    for table in ("push", "delivery", "trace", "batch", "broadcast"):
        assert list(await partitions_of(database, table)) == [kept], table


async def test_a_backup_delays_partitions_but_no_reads_or_writes(
    database: Database, keeper: PartitionKeeper
) -> None:
    await store_push(database, push_id_at(NOW))
    async with database.transaction() as backup:
        await backup.execute("LOCK TABLE push, push_default, delivery_default IN ACCESS SHARE MODE")
        keeping = asyncio.create_task(keeper.keep_partitions(NOW, MONTH))
        async with database.connection() as connection:

            async def read_until_kept() -> bool:
                await connection.fetchval("SELECT count(*) FROM push")
                return keeping.done()

            await eventually(read_until_kept)
        with pytest.raises(Unavailable):
            await keeping
    await keeper.keep_partitions(NOW, MONTH)
    assert await partitions_of(database, "push") == {push_id_at(NOW): "push_20260301"}


async def test_partitions_are_left_alone_while_another_node_keeps_them(
    database: Database, keeper: PartitionKeeper
) -> None:
    async with hold_schema_lock(database, wait=True), asyncio.timeout(10):
        await keeper.keep_partitions(NOW, MONTH)
    assert len(await partitions_of(database, "push")) == 0
    await keeper.keep_partitions(NOW, MONTH)
