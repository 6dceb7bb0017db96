"""SQL of what happened minute by minute, all nodes together: what charts of the last days are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from relay.store.database import Database

# In one order, so that two nodes never wait for each other.
_ADD = """
INSERT INTO minute_count AS m (minute, outcome, reason, count)
SELECT $1, outcome, reason, count FROM unnest($2::text[], $3::text[], $4::bigint[]) AS n(outcome, reason, count)
ORDER BY outcome COLLATE "C", reason COLLATE "C"
ON CONFLICT (minute, outcome, reason) DO UPDATE SET count = m.count + excluded.count
"""
_BETWEEN = """
SELECT date_bin(make_interval(secs => $3), minute, timestamptz 'epoch') AS at, outcome, reason,
       sum(count)::bigint AS count
FROM minute_count WHERE minute >= $1 AND minute < $2
GROUP BY at, outcome, reason ORDER BY at, outcome, reason
"""
_DROP = """
DELETE FROM minute_count m USING (
    SELECT minute, outcome, reason FROM minute_count WHERE minute < $1 ORDER BY minute LIMIT $2 FOR UPDATE SKIP LOCKED
) old
WHERE m.minute = old.minute AND m.outcome = old.outcome AND m.reason = old.reason
"""


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """`count` times `outcome` in the step that begins `at`. `reason` is "" where the outcome says all.

    Outcomes: "accepted" (pushes), "targets" (what they were to reach), "delivered", "failed", "unregistered",
    "expired", "cancelled" (targets that ended so), "retried" (attempts), "retired" (device tokens).
    """

    at: datetime
    outcome: str
    reason: str
    count: int


class MinuteCounts:
    """What happened, minute by minute."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, minute: datetime, counts: Mapping[tuple[str, str], int]) -> None:
        """Add counts by (outcome, reason) to those of the minute in which `minute` lies. Raises Unavailable."""
        if not counts:
            return
        start = minute.replace(second=0, microsecond=0)
        outcomes, reasons = zip(*counts, strict=True)
        async with self._database.connection() as connection:
            await connection.execute(_ADD, start, outcomes, reasons, list(counts.values()))

    async def between(self, since: datetime, until: datetime, step_seconds: int) -> list[MinuteCount]:
        """The counts of minutes that begin from `since` on and before `until`, in order of time.

        Summed to steps of so many seconds (60 or a multiple), that begin at multiples of it since 1970.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BETWEEN, since, until, float(step_seconds))
        return [MinuteCount(**row) for row in rows]

    async def drop_before(self, moment: datetime, at_most: int = 10_000) -> int:
        """Drop the counts of older minutes, the oldest first, up to `at_most`. Returns how many."""
        async with self._database.connection() as connection:
            done = await connection.execute(_DROP, moment, at_most)
        return int(done.rpartition(" ")[2])
