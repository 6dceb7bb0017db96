"""SQL of cancelling a push: what has not been sent of it is not sent any more, wherever it waits.

First the push gets a mark, and no more of a broadcast is cut. Once that is committed every claim sees it: whatever is
overlooked below ends as cancelled when its turn comes. Then all that waits in the queue is ended; whoever removes a row
of the queue writes what became of it, as in a settlement, so each target has one outcome. What a node holds the lease
of is under way, and ends as it ends; its row gets a mark, which turns a retry into the end.

A row that is locked is being claimed or settled at this moment. It is not waited for, so nobody ever waits for a
cancellation either.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from relay.core.delivery.outcomes import Outcome
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, Entry
from relay.store.webhooks import outbox
from relay.telemetry import counts

_PIECE = 500
"""So many batches are ended in one transaction."""

# A piece of it that is being cut is waited for: its batches are there afterwards.
_CUT_NO_FURTHER = "DELETE FROM broadcast WHERE app_id = $1 AND push_id = $2 RETURNING true"
# What has come to its end cannot be cancelled.
_MARK = """
UPDATE push p SET cancelled_at = $3
WHERE p.app_id = $1 AND p.push_id = $2 AND p.cancelled_at IS NULL
  AND ($4 OR EXISTS (SELECT FROM batch b WHERE b.app_id = $1 AND b.push_id = $2))
RETURNING true
"""
_END = """
WITH waiting AS (
    SELECT batch_id FROM batch
    WHERE app_id = $1 AND push_id = $2 AND (lease_owner IS NULL OR due_at <= $3)
    LIMIT $4 FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM batch b USING waiting w WHERE b.app_id = $1 AND b.push_id = $2 AND b.batch_id = w.batch_id
    RETURNING b.batch_id, b.attempt, b.installations
), cancelled AS (
    INSERT INTO delivery (app_id, push_id, batch_id, attempt, settled_at, outcome, status, reason, installations)
    SELECT $1, $2, batch_id, attempt, $3, 'cancelled', 0, 'Cancelled', installations FROM ended
), leased AS (
    SELECT batch_id FROM batch
    WHERE app_id = $1 AND push_id = $2 AND lease_owner IS NOT NULL AND due_at > $3 AND NOT cancelled
    FOR UPDATE SKIP LOCKED
), under_way AS (
    UPDATE batch b SET cancelled = true FROM leased l
    WHERE b.app_id = $1 AND b.push_id = $2 AND b.batch_id = l.batch_id
    RETURNING b.batch_id
)
SELECT (SELECT count(*) FROM ended) + (SELECT count(*) FROM under_way),
       (SELECT coalesce(sum(cardinality(installations)), 0)::bigint FROM ended)
"""


async def cancel(
    database: Database, app_id: str, push_id: UUID, publisher_id: UUID | None, now: datetime, actor: Actor
) -> None:
    """Cancel an existing push. One that has ended stays as it is; once more does what is left to be done.

    `publisher_id` is whose it is. Raises Unavailable; then it may be cancelled in part, and can be cancelled again.
    """
    async with database.transaction() as connection:
        growing = await connection.fetchval(_CUT_NO_FURTHER, app_id, push_id) or False
        if await connection.fetchval(_MARK, app_id, push_id, now, growing):
            entry = Entry(AuditAction.PUSH_CANCELLED, str(push_id), publisher_id, {"app_id": app_id})
            await audit.write(connection, actor, now, entry)
        if growing:
            await outbox.tell_completed(connection, [(app_id, push_id)], now)
    ended = 1
    while ended:  # what was skipped at first may be free now
        async with database.transaction() as connection:
            ended, targets = await connection.fetchrow(_END, app_id, push_id, now, _PIECE) or (0, 0)
            if ended:
                await outbox.tell_completed(connection, [(app_id, push_id)], now)
        if targets:
            counts.ended({(Outcome.CANCELLED, "Cancelled"): targets})
