"""Cancelling a push: its deliveries that have not been sent end as cancelled.

First the push gets a mark, and its broadcast is cut no further. After that commit every lease sees the mark: batches
that the following steps miss end as cancelled when they are leased. Then the batches in the queue are ended. The
transaction that removes a row of the queue writes its outcome, as in a settlement, so each target has exactly one
outcome. Batches under a lease are being sent and end as they end; a mark on their row turns a retry into the end.

A locked row is being leased or settled at this moment. It is skipped, so no lease or settlement waits for a
cancellation.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from relay.core.delivery.outcomes import Outcome
from relay.store import sql
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry
from relay.store.webhooks.outbox import OutboxRepository
from relay.telemetry import counts

_SQL = sql.load(__package__, "cancellation.sql")
_MAX_BATCHES_PER_TRANSACTION = 500


class CancellationRepository:
    """The way of pushes out of the queue."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._outbox = OutboxRepository()

    async def cancel_push(
        self, app_id: str, push_id: UUID, publisher_id: UUID | None, now: datetime, actor: Actor
    ) -> None:
        """Cancel an existing push, and record it in the audit log of the publisher `publisher_id`.

        A push that has ended stays as it is. Cancelling a push again finishes a cancellation that failed.

        Raises:
            Unavailable: The database is away. The push may be cancelled in part.
        """
        async with self._database.transaction() as connection:
            was_growing = await connection.fetchval(_SQL["stop_cutting"], app_id, push_id) or False
            if await connection.fetchval(_SQL["mark_cancelled"], app_id, push_id, now, was_growing):
                entry = AuditEntry(AuditAction.PUSH_CANCELLED, str(push_id), publisher_id, {"app_id": app_id})
                await audit.write_entries(connection, actor, now, entry)
            if was_growing:
                await self._outbox.store_completed_messages(connection, [(app_id, push_id)], now)
        touched = 1
        while touched:  # rows that were skipped may be free by now
            async with self._database.transaction() as connection:
                touched, targets = await connection.fetchrow(
                    _SQL["end_waiting_batches"], app_id, push_id, now, _MAX_BATCHES_PER_TRANSACTION
                ) or (0, 0)
                if touched:
                    await self._outbox.store_completed_messages(connection, [(app_id, push_id)], now)
            if targets:
                counts.ended({(Outcome.CANCELLED, "Cancelled"): targets})
