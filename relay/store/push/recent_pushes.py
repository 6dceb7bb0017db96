"""SQL of an app's latest pushes, at a cost that does not grow with how many there are, nor with how large they were.

The list is read along the primary key, backwards: a row of each day's partition, and then as many as are shown. The
outcomes of a push are counted only while they are few rows; those of a broadcast may be megabytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.core.delivery.outcomes import PushState
from relay.store.database import Database

MOST_ROWS = 20
"""Rows of outcomes that are read of one push: 40,000 copies in the usual batches."""
_LAST = UUID(int=2**128 - 1)

_PAGE = """
SELECT p.push_id, p.created_at, p.push_type, p.debug, p.targets, p.cancelled_at IS NOT NULL AS cancelled,
       t.label, t.kind, e.rows, e.counts,
       EXISTS (SELECT FROM batch b WHERE b.app_id = p.app_id AND b.push_id = p.push_id)
           OR EXISTS (SELECT FROM broadcast c WHERE c.app_id = p.app_id AND c.push_id = p.push_id) AS waiting
FROM (SELECT * FROM push WHERE app_id = $1 AND push_id < $2 ORDER BY push_id DESC LIMIT $3) p
LEFT JOIN api_token t ON t.token_id = p.token_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(o.rows), 0)::int AS rows, json_object_agg(o.outcome, o.count) FILTER (
        WHERE o.outcome IS NOT NULL
    ) AS counts
    FROM (
        SELECT outcome, count(*) AS rows, sum(cardinality(installations)) AS count
        FROM (
            SELECT outcome, installations FROM delivery d
            WHERE d.app_id = p.app_id AND d.push_id = p.push_id LIMIT $4
        ) AS read
        GROUP BY outcome
    ) o
) e
ORDER BY p.push_id DESC
"""


@dataclass(frozen=True, slots=True)
class RecentPush:
    """A push as a list shows it. `counts`: copies by outcome, or None where there are too many to count.

    `sender`: the label of the token that it was sent with, and `kind` that token's kind.
    """

    push_id: UUID
    created_at: datetime
    push_type: str
    debug: bool
    targets: int
    state: PushState
    counts: Mapping[str, int] | None
    sender: str
    kind: str


class RecentPushes:
    """The latest pushes of all apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, app_id: str, before: UUID | None, limit: int) -> list[RecentPush]:
        """Up to `limit` pushes of an app that are older than the one with the id `before`, the newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, app_id, before or _LAST, limit, MOST_ROWS + 1)
        return [
            RecentPush(
                row["push_id"],
                row["created_at"],
                row["push_type"],
                row["debug"],
                row["targets"],
                _state(row["cancelled"], row["waiting"], row["rows"]),
                json.loads(row["counts"] or "{}") if row["rows"] <= MOST_ROWS else None,
                row["label"] or "",
                row["kind"] or "",
            )
            for row in rows
        ]


def _state(cancelled: bool, waiting: bool, rows: int) -> PushState:
    """The state in the words of the API."""
    if cancelled:
        return PushState.CANCELLED
    if waiting:
        return PushState.SENDING if rows else PushState.QUEUED
    return PushState.DONE
