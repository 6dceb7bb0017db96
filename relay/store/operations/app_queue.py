"""SQL of what waits of one app, batch by batch: what an operator looks at when a queue does not move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.store.database import Database

# Read along the index of what is due, in both halves of the queue.
_OLDEST = """
WITH waiting AS (
    (SELECT * FROM batch WHERE app_id = $1 AND NOT bulk ORDER BY due_at LIMIT $3)
    UNION ALL
    (SELECT * FROM batch WHERE app_id = $1 AND bulk ORDER BY due_at LIMIT $3)
)
SELECT push_id, batch_id, cardinality(installations) AS installations, bulk, attempt, due_at, held_by, last_reason,
       CASE WHEN held_by IS NOT NULL THEN 'held' WHEN due_at <= $2 THEN 'due' WHEN lease_owner IS NOT NULL THEN 'leased'
            ELSE 'later' END AS state
FROM waiting ORDER BY due_at, push_id, batch_id LIMIT $3
"""
_BROADCASTS = """
SELECT push_id, pieces FROM broadcast WHERE app_id = $1 ORDER BY push_id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch in the queue. `state` as in `queue_state`: due, leased, later or held (by the credential `held_by`).

    `installations`: how many are left of it; `last_reason`: why it was tried again, or is held.
    """

    push_id: UUID
    batch_id: int
    installations: int
    bulk: bool
    attempt: int
    due_at: datetime
    held_by: int | None
    last_reason: str
    state: str


@dataclass(frozen=True, slots=True)
class WaitingBroadcast:
    """A push to everybody that has not been cut to its end; `pieces`: how many batches it has become."""

    push_id: UUID
    pieces: int


@dataclass(frozen=True, slots=True)
class AppQueue:
    """What waits of an app, the oldest first."""

    batches: list[WaitingBatch]
    broadcasts: list[WaitingBroadcast]


async def app_queue(database: Database, app_id: str, now: datetime, limit: int) -> AppQueue | None:
    """Up to `limit` batches of the app, and as many broadcasts. None: there is no such app."""
    async with database.connection() as connection:
        if not await connection.fetchval("SELECT true FROM app WHERE app_id = $1", app_id):
            return None
        batches = await connection.fetch(_OLDEST, app_id, now, limit)
        broadcasts = await connection.fetch(_BROADCASTS, app_id, limit)
    return AppQueue([WaitingBatch(**row) for row in batches], [WaitingBroadcast(**row) for row in broadcasts])
