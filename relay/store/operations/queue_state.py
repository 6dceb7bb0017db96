"""SQL of what waits: how much, for how long, of whom, and for what. For operators; nothing that sends asks this."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from relay.store.database import Database

_MOST = 200_000
"""Rows that are read at most of a table: beyond that it does not matter how much more there is."""
_TOP = 20
"""Apps and credentials that are named: those with the most batches."""

# One pass over the queue. The installation numbers themselves are not read: a list of them takes 8 bytes for each and
# 20 to 24 for itself, and its size is known without it. That would be wrong for compressed lists; none are (0003).
_BATCHES = """
WITH waiting AS (
    SELECT app_id, held_by, bulk, due_at, (pg_column_size(installations) - 20) / 8 AS installations,
           CASE WHEN held_by IS NOT NULL THEN 'held' WHEN due_at <= $1 THEN 'due'
                WHEN lease_owner IS NOT NULL THEN 'leased' ELSE 'later' END AS state
    FROM batch LIMIT $2
), counted AS (
    SELECT state, bulk, app_id, held_by, grouping(state, app_id, held_by) AS part, count(*) AS batches,
           sum(installations)::bigint AS installations,
           extract(epoch FROM $1 - min(due_at) FILTER (WHERE state = 'due'))::float8 AS oldest_due_seconds
    FROM waiting GROUP BY GROUPING SETS ((state, bulk), (app_id), (held_by))
)
SELECT state, bulk, app_id, held_by, batches, installations, oldest_due_seconds FROM (
    SELECT *, row_number() OVER (PARTITION BY part ORDER BY batches DESC, app_id, held_by) AS rank FROM counted
    WHERE state IS NOT NULL OR app_id IS NOT NULL OR held_by IS NOT NULL
) ranked
WHERE rank <= $3 ORDER BY rank
"""
_OTHERS = """
SELECT (SELECT count(*) FROM (SELECT FROM broadcast LIMIT $1) b),
       (SELECT count(*) FROM (SELECT FROM channel_delivery WHERE due_at IS NOT NULL LIMIT $1) c),
       (SELECT count(*) FROM (SELECT FROM webhook_event LIMIT $1) e)
"""


class Depth(NamedTuple):
    """What is in the queue in one state.

    `state`: "due"; "leased" (a node is sending it); "later" (a retry, or what had no room); "held" (waits for a
    credential). `bulk`: of pushes to many.
    """

    state: str
    bulk: bool
    batches: int
    installations: int


class AppDepth(NamedTuple):
    """What is in the queue of one app; `oldest_due_seconds` is 0 where nothing is due."""

    app_id: str
    batches: int
    installations: int
    oldest_due_seconds: float


class HeldDepth(NamedTuple):
    """How many batches wait for a credential; its id is 0 for one that does not exist yet."""

    credential_id: int
    batches: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits at one moment.

    `due_batches`, `held_batches` and `leased` (batches that a node is sending) are parts of `batches`;
    `installations` are targets without an outcome. `broadcasts` have not been cut to their end, `channel_pushes` are
    on their way to one of Apple's channels each, `webhook_events` are messages that no receiver has taken yet.
    `oldest_due_seconds`: for how long the oldest batch has been due and not claimed. `by_app` and `by_credential`
    name those with the most batches. `at_least`: there was more than is counted.
    """

    batches: int
    installations: int
    due_batches: int
    held_batches: int
    leased: int
    broadcasts: int
    channel_pushes: int
    webhook_events: int
    oldest_due_seconds: float
    by_state: list[Depth]
    by_app: list[AppDepth]
    by_credential: list[HeldDepth]
    at_least: bool


async def queue_state(database: Database, now: datetime) -> QueueState:
    """What waits. Reads up to 200,000 rows of each table: a fraction of a second. Raises Unavailable."""
    async with database.connection() as connection:
        rows = await connection.fetch(_BATCHES, now, _MOST, _TOP)
        others = await connection.fetchrow(_OTHERS, _MOST)
    assert others is not None  # it counts
    by_state: list[Depth] = []
    by_app: list[AppDepth] = []
    by_credential: list[HeldDepth] = []
    oldest = 0.0
    for state, bulk, app_id, held_by, batches, installations, age in rows:
        if state is not None:
            by_state.append(Depth(state, bulk, batches, installations))
            oldest = max(oldest, age or 0.0)
        elif app_id is not None:
            by_app.append(AppDepth(app_id, batches, installations, age or 0.0))
        else:
            by_credential.append(HeldDepth(held_by, batches))
    total = sum(one.batches for one in by_state)

    def counted(state: str) -> int:
        return sum(one.batches for one in by_state if one.state == state)

    return QueueState(
        batches=total,
        installations=sum(one.installations for one in by_state),
        due_batches=counted("due"),
        held_batches=counted("held"),
        leased=counted("leased"),
        broadcasts=others[0],
        channel_pushes=others[1],
        webhook_events=others[2],
        oldest_due_seconds=oldest,
        by_state=by_state,
        by_app=by_app,
        by_credential=by_credential,
        at_least=_MOST in (total, *others),
    )
