"""Daily partitions: made some days ahead, and dropped when all pushes of their day are past the retention.

The partition key is the push id, which begins with the time of acceptance. Rows of a day that has no partition yet go
to the table's default partition, and move out of it when the partition of their day is made.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from relay.core.ids import smallest_push_id
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.schema_lock import hold_schema_lock

PARTITIONED_TABLES = ("push", "delivery", "trace")
"""The tables that have a partition for each day."""
_TABLES_BY_PUSH = (
    "batch",
    "broadcast",
    "broadcast_by_team",
    "broadcast_move",
    "channel_push",
    "channel_delivery",
)
"""Tables without partitions whose rows are deleted together with the partitions of their day."""
_SQL = sql.load(__package__, "partitions.sql")


class PartitionKeeper:
    """The upkeep of the daily partitions. Any number of nodes may run it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_partitions(self, now: datetime, retention: timedelta, days_ahead: int = 7) -> None:
        """Make the partitions of the next `days_ahead` days, today included, and drop those older than `retention`.

        Does nothing while another node is at it.

        Raises:
            Unavailable: The database is away, or a table is in use, by a backup for example.
        """
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        async with hold_schema_lock(self._database, wait=False) as connection:
            if connection is None:
                return
            for table in PARTITIONED_TABLES:
                for day in (today + timedelta(days=n) for n in range(days_ahead)):
                    try:
                        await connection.execute(_create_partition_sql(table, day))
                    except asyncpg.CheckViolationError:  # the default partition has rows of that day
                        await _move_out_of_default(connection, table, day)
            async with connection.transaction():
                await _drop_days_before(connection, today - retention)


def _create_partition_sql(table: str, day: datetime) -> str:
    low, high = smallest_push_id(day), smallest_push_id(day + timedelta(days=1))
    return (
        f'CREATE TABLE IF NOT EXISTS "{table}_{day:%Y%m%d}" PARTITION OF {table} '
        f"FOR VALUES FROM ('{low}') TO ('{high}')"
    )


async def _move_out_of_default(connection: Connection, table: str, day: datetime) -> None:
    """Make the partition of `day`, and move the rows of that day into it from the default partition."""
    low, high = smallest_push_id(day), smallest_push_id(day + timedelta(days=1))
    async with connection.transaction():
        await connection.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_default")
        await connection.execute(_create_partition_sql(table, day))
        await connection.execute(
            f"WITH moved AS (DELETE FROM {table}_default WHERE push_id >= $1 AND push_id < $2 RETURNING *) "  # noqa: S608  the names are ours
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM moved",
            low,
            high,
        )
        await connection.execute(f"ALTER TABLE {table} ATTACH PARTITION {table}_default DEFAULT")


async def _drop_days_before(connection: Connection, day: datetime) -> None:
    """Drop the partitions before `day`, and the rows of other tables that belong to their pushes.

    A batch whose push is gone would be leased again and again, so those rows are deleted as well.
    """
    old_partitions = [
        name
        for table in PARTITIONED_TABLES
        for name in await _list_partitions(connection, table)
        if name < f"{table}_{day:%Y%m%d}" and name.removeprefix(f"{table}_").isdigit()
    ]
    if not old_partitions:
        return
    for table in (*(f"{table}_default" for table in PARTITIONED_TABLES), *_TABLES_BY_PUSH):
        await connection.execute(f"DELETE FROM {table} WHERE push_id < $1", smallest_push_id(day))  # noqa: S608
    for name in old_partitions:
        await connection.execute(f'DROP TABLE "{name}"')


async def _list_partitions(connection: Connection, table: str) -> list[str]:
    return [row["relname"] for row in await connection.fetch(_SQL["list_partitions"], table)]
