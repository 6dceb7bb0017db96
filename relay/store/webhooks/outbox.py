"""What publishers are to be told, written by the transaction of what happened: told of exactly when it did happen.

Only batches of apps with a webhook come here (`ClaimedBatch.has_webhook`, learnt when a batch is resolved), so the
others' settlements know nothing of it. A push that was accepted after a webhook was made is told of, by whichever node.

A push is completed by whoever settles the last of it. Its batches may be settled at the same time by several nodes,
none of which sees what the others have not committed; so each locks the push, and then looks: the last one sees all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.webhooks.messages import EVENT_OF_OUTCOME, MAX_COPIES, EventType
from relay.store.database import Connection

_TOLD = "SELECT DISTINCT app_id FROM webhook WHERE app_id = ANY($1::text[]) AND disabled_at IS NULL"
_COLUMNS = "app_id, webhook_id, type, created_at, due_at, push_id, outcome, status, reason, installations"
_WRITE = f"""
INSERT INTO webhook_event ({_COLUMNS})
SELECT e.app_id, w.webhook_id, e.type, $2::timestamptz, $2, e.push_id, e.outcome, e.status, e.reason, e.installations
FROM unnest($1::webhook_event_row[]) e
JOIN webhook w ON w.app_id = e.app_id AND w.disabled_at IS NULL AND e.type = ANY(w.events)
"""  # noqa: S608 - the columns are ours
# Locked in the order of the primary key, so that two settlements cannot wait for one another.
_LOCK = """
SELECT FROM unnest($1::text[], $2::uuid[]) AS k (app_id, push_id)
JOIN push p ON p.app_id = k.app_id AND p.push_id = k.push_id
ORDER BY p.app_id, p.push_id FOR NO KEY UPDATE OF p
"""
_COMPLETE = f"""
INSERT INTO webhook_event ({_COLUMNS})
SELECT k.app_id, w.webhook_id, $4::text, $3::timestamptz, $3, k.push_id, '', 0, '', '{{}}'
FROM unnest($1::text[], $2::uuid[]) AS k (app_id, push_id)
JOIN webhook w ON w.app_id = k.app_id AND w.disabled_at IS NULL AND $4 = ANY(w.events)
WHERE NOT EXISTS (SELECT FROM batch b WHERE b.app_id = k.app_id AND b.push_id = k.push_id)
  AND NOT EXISTS (SELECT FROM broadcast c WHERE c.app_id = k.app_id AND c.push_id = k.push_id)
"""  # noqa: S608 - the columns are ours

Push = tuple[str, UUID]
"""app_id and push id."""


class Ended(NamedTuple):
    """Installations of a push that ended alike."""

    app_id: str
    push_id: UUID
    outcome: str
    status: int
    reason: str
    installations: Sequence[int]


async def told_apps(connection: Connection, app_ids: Collection[str]) -> set[str]:
    """Those of the apps that have a webhook."""
    return {row[0] for row in await connection.fetch(_TOLD, list(app_ids))}


async def tell_ended(connection: Connection, ended: Iterable[Ended], now: datetime) -> None:
    """Tell of deliveries that were settled by this transaction."""
    alike: dict[tuple[str, UUID, str, int, str], list[int]] = defaultdict(list)
    for one in ended:
        if one.outcome in EVENT_OF_OUTCOME:
            alike[one[:-1]].extend(one.installations)
    rows = [
        (app_id, push_id, EVENT_OF_OUTCOME[outcome], outcome, *why, ids[start : start + MAX_COPIES])
        for (app_id, push_id, outcome, *why), ids in alike.items()
        for start in range(0, len(ids), MAX_COPIES)
    ]
    if rows:
        await connection.execute(_WRITE, rows, now)


async def tell_completed(connection: Connection, pushes: Iterable[Push], now: datetime) -> None:
    """Tell of those pushes of which nothing is open any more.

    Called at the end of each transaction that ended a part of them: a batch, the cutting of a broadcast, or all of it
    at once. Pushes of apps without a webhook do no harm.
    """
    if wanted := sorted(set(pushes)):
        keys = [app_id for app_id, _ in wanted], [push_id for _, push_id in wanted]
        await connection.execute(_LOCK, *keys)
        await connection.execute(_COMPLETE, *keys, now, EventType.PUSH_COMPLETED)
