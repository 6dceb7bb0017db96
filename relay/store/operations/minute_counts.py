"""Counts of outcomes by minute, over all nodes: the data of the charts of the last days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from relay.store import sql
from relay.store.database import Database

_SQL = sql.load(__package__, "minute_counts.sql")


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """The count of `outcome` in the step that begins `at`. `reason` is "" for outcomes without a reason.

    Outcomes: "accepted" (pushes), "targets" (of these pushes), "delivered", "failed", "unregistered", "expired",
    "cancelled" (targets by how they ended), "retried" (attempts), "retired" (device tokens).
    """

    at: datetime
    outcome: str
    reason: str
    count: int


class MinuteCountRepository:
    """The stored counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_counts(self, minute: datetime, counts: Mapping[tuple[str, str], int]) -> None:
        """Add counts by (outcome, reason) to the minute in which `minute` lies. Raises Unavailable."""
        if not counts:
            return
        start = minute.replace(second=0, microsecond=0)
        outcomes, reasons = zip(*counts, strict=True)
        async with self._database.connection() as connection:
            await connection.execute(_SQL["add"], start, outcomes, reasons, list(counts.values()))

    async def sum_counts(self, since: datetime, until: datetime, step_seconds: int) -> list[MinuteCount]:
        """Return the counts of minutes that begin from `since` on and before `until`, in order of time.

        The minutes are summed to steps of `step_seconds` (60 or a multiple), which begin at its multiples since 1970.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["sum_by_step"], since, until, float(step_seconds))
        return [MinuteCount(**row) for row in rows]

    async def delete_counts_before(self, moment: datetime, at_most: int = 10_000) -> int:
        """Delete up to `at_most` counts of minutes before `moment`, the oldest first. Returns their number."""
        async with self._database.connection() as connection:
            status = await connection.execute(_SQL["delete_before"], moment, at_most)
        return int(status.rpartition(" ")[2])
