"""SQL of what is past its time, counted before it goes. What drops it is with each table's own statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from relay.store.database import Database
from relay.store.operations.inventory import Partition, partitions

_PAST = """
SELECT (SELECT count(*) FROM audit WHERE at < $1) AS audit,
       (SELECT count(*) FROM idempotency_key WHERE created_at < $2) AS idempotency_keys,
       (SELECT count(*) FROM webhook_event WHERE created_at < $3) AS webhook_events,
       (SELECT count(*) FROM minute_count WHERE minute < $4) AS minute_counts,
       (SELECT count(*) FROM node WHERE seen_at < $5) AS nodes
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What is older than these moments is past its time; of pushes, what is of an earlier day than `pushes`."""

    pushes: date
    audit: datetime
    idempotency_keys: datetime
    webhook_events: datetime
    minute_counts: datetime
    nodes: datetime


@dataclass(frozen=True, slots=True)
class Past:
    """How many rows of each are past their time."""

    audit: int
    idempotency_keys: int
    webhook_events: int
    minute_counts: int
    nodes: int


async def past(database: Database, ends: Ends) -> Past:
    """Count rows that are past their time. Raises Unavailable."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            _PAST, ends.audit, ends.idempotency_keys, ends.webhook_events, ends.minute_counts, ends.nodes
        )
    assert row is not None  # it counts
    return Past(**row)


async def past_partitions(database: Database, ends: Ends) -> list[Partition]:
    """The partitions of days that are past their time. Raises Unavailable."""
    return [one for one in await partitions(database) if one.day is not None and one.day < ends.pushes]
