"""SQL of what the database holds: how large its tables are, and which days have partitions. For operators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from relay.store.database import Database
from relay.store.partitions import PARTITIONED_TABLES

# `rows` are what the planner thinks there is: counting would read everything.
_TABLES = """
SELECT coalesce(parent.relname, c.relname)::text AS name, sum(greatest(c.reltuples, 0))::bigint AS rows,
       sum(coalesce(pg_total_relation_size(c.oid), 0))::bigint AS bytes
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::text::regnamespace
GROUP BY 1 ORDER BY 3 DESC, 1
"""
_PARTITIONS = """
SELECT parent.relname::text AS table, c.relname::text AS name, greatest(c.reltuples, 0)::bigint AS rows,
       coalesce(pg_total_relation_size(c.oid), 0) AS bytes
FROM pg_class parent
JOIN pg_inherits i ON i.inhparent = parent.oid
JOIN pg_class c ON c.oid = i.inhrelid
WHERE parent.relname = ANY($1::text[]) AND parent.relnamespace = current_schema()::text::regnamespace
ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table with its partitions, indexes and large values; `rows` is an estimate."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """The part of a table that one day has, in UTC. `day` None: what belongs to no day that has one. Rows: about."""

    table: str
    name: str
    day: date | None
    rows: int
    bytes: int


async def tables(database: Database) -> list[TableSize]:
    """All tables, the largest first."""
    async with database.connection() as connection:
        return [TableSize(**row) for row in await connection.fetch(_TABLES)]


async def partitions(database: Database) -> list[Partition]:
    """The partitions of push, delivery and trace, by table and day."""
    async with database.connection() as connection:
        rows = await connection.fetch(_PARTITIONS, PARTITIONED_TABLES)
    return [Partition(day=_day(row["name"]), **row) for row in rows]


async def database_size(database: Database) -> int:
    """Bytes on its disk, without the write-ahead log."""
    async with database.connection() as connection:
        size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
    return size


def _day(name: str) -> date | None:
    digits = name.rpartition("_")[2]
    return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date() if digits.isdigit() else None
