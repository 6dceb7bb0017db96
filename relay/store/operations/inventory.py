"""Sizes of tables and partitions, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from relay.store import sql
from relay.store.database import Database
from relay.store.partitions import PARTITIONED_TABLES

_SQL = sql.load(__package__, "inventory.sql")


@dataclass(frozen=True, slots=True)
class TableSize:
    """The size of a table with its partitions, indexes and large values. `rows` is an estimate."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """The partition of a table for one UTC day. `rows` is an estimate.

    `day` is None for the default partition, which has the rows of days without a partition.
    """

    table: str
    name: str
    day: date | None
    rows: int
    bytes: int


class InventoryRepository:
    """The sizes of what the database holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_table_sizes(self) -> list[TableSize]:
        """Return the sizes of all tables, the largest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["table_sizes"])
        return [TableSize(**row) for row in rows]

    async def list_partitions(self) -> list[Partition]:
        """Return the partitions of push, delivery and trace, by table and day."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["partitions"], PARTITIONED_TABLES)
        return [Partition(day=_day_of_partition(row["name"]), **row) for row in rows]

    async def measure_database_size(self) -> int:
        """Return the bytes that the database takes on disk, without the write-ahead log."""
        async with self._database.connection() as connection:
            size_bytes: int = await connection.fetchval(_SQL["database_size"])
        return size_bytes


def _day_of_partition(name: str) -> date | None:
    digits = name.rpartition("_")[2]
    return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date() if digits.isdigit() else None
