"""Rows and partitions past their retention, counted before they are deleted.

The repository of each table deletes its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from relay.store import sql
from relay.store.database import Database
from relay.store.operations.inventory import InventoryRepository, Partition

_SQL = sql.load(__package__, "retention.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionCutoffs:
    """The moments before which rows are past their retention. For pushes, the partitions of days before `pushes`."""

    pushes: date
    audit: datetime
    idempotency_keys: datetime
    webhook_events: datetime
    minute_counts: datetime
    nodes: datetime


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """The number of rows past their retention, by table."""

    audit: int
    idempotency_keys: int
    webhook_events: int
    minute_counts: int
    nodes: int


class RetentionRepository:
    """The rows and partitions that may be deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inventory = InventoryRepository(database)

    async def count_expired_rows(self, cutoffs: RetentionCutoffs) -> ExpiredRows:
        """Return how many rows are past their retention. Raises Unavailable."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _SQL["count_expired"],
                cutoffs.audit,
                cutoffs.idempotency_keys,
                cutoffs.webhook_events,
                cutoffs.minute_counts,
                cutoffs.nodes,
            )
        assert row is not None  # a SELECT without FROM returns one row
        return ExpiredRows(**row)

    async def list_expired_partitions(self, cutoffs: RetentionCutoffs) -> list[Partition]:
        """Return the partitions of days before `cutoffs.pushes`. Raises Unavailable."""
        return [
            partition
            for partition in await self._inventory.list_partitions()
            if partition.day is not None and partition.day < cutoffs.pushes
        ]
