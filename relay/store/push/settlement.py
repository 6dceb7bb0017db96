"""Settlement: everything that ended is written in one transaction, and only under the lease of its batch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from relay.store import sql
from relay.store.database import Connection
from relay.store.push.records import MAX_SMALL_BATCH_SIZE, Settlement
from relay.store.webhooks.outbox import EndedDeliveries, OutboxRepository

_SQL = sql.load(__package__, "settlement.sql")
_SETTLE_BATCHES = _SQL["settle_batches"]


class SettlementRepository:
    """Outcomes, retries, token retirements and traces of batches. It has no database: callers pass a connection."""

    def __init__(self) -> None:
        self._outbox = OutboxRepository()

    async def settle_batches(
        self,
        connection: Connection,
        owner: UUID,
        settlement: Settlement,
        now: datetime,
        lease_end: datetime,
        batch_id: Callable[[], int],
    ) -> set[int]:
        """Write a settlement in one transaction. Return the ids of the batches whose lease `owner` still had.

        Of other batches nothing is written but token retirements and traces, which are true in any case: the new
        owner of the lease settles them. Messages to webhooks are written with the outcomes. Batches that remain are
        leased until `lease_end`. `batch_id` returns a new id at each call, for retries.

        A settlement may be written again if it is not known whether it was: that changes nothing.
        """
        concerns_webhooks = settlement.concerns_webhooks
        if not (settlement.retirements or settlement.traces or concerns_webhooks):
            return await _settle(connection, owner, settlement, now, lease_end, batch_id)
        async with connection.transaction():
            owned = await _settle(connection, owner, settlement, now, lease_end, batch_id)
            if concerns_webhooks:
                await self._store_messages(connection, settlement, owned, now)
            if settlement.retirements:
                retirement_rows = [
                    (
                        retirement.app_id,
                        retirement.installation_id,
                        retirement.token,
                        retirement.reason,
                        retirement.evidence,
                    )
                    for retirement in settlement.retirements
                ]
                await connection.execute(_SQL["retire_tokens"], now, retirement_rows)
            if settlement.traces:
                trace_rows = [
                    (trace.app_id, trace.push_id, trace.installation_id, trace.attempt, trace.record)
                    for trace in settlement.traces
                ]
                await connection.executemany(_SQL["store_trace"], trace_rows)
        return owned

    async def _store_messages(
        self, connection: Connection, settlement: Settlement, owned: set[int], now: datetime
    ) -> None:
        outcomes = [
            outcome
            for outcome in settlement.outcomes
            if outcome.batch.has_webhook and outcome.batch.batch_id in owned
        ]
        # A retry may have become the last cancelled delivery of its push.
        retried = [
            retry.batch
            for retry in settlement.retries
            if retry.batch.has_webhook and retry.batch.batch_id in owned
        ]
        ended = (
            EndedDeliveries(
                outcome.batch.app_id,
                outcome.batch.push_id,
                outcome.outcome,
                outcome.status,
                outcome.reason,
                outcome.installations,
            )
            for outcome in outcomes
        )
        await self._outbox.store_delivery_messages(connection, ended, now)
        pushes = [
            (batch.app_id, batch.push_id) for batch in (*(outcome.batch for outcome in outcomes), *retried)
        ]
        await self._outbox.store_completed_messages(connection, pushes, now)


async def _settle(
    connection: Connection,
    owner: UUID,
    settlement: Settlement,
    now: datetime,
    lease_end: datetime,
    batch_id: Callable[[], int],
) -> set[int]:
    """Run the one statement that settles batches. Alone it is a transaction: BEGIN and COMMIT cost no round trips."""
    rows = await connection.fetch(
        _SETTLE_BATCHES,
        owner,
        [(batch.app_id, batch.push_id, batch.batch_id) for batch in settlement.ended],
        [
            (
                batch.app_id,
                batch.push_id,
                batch.batch_id,
                batch.attempt,
                lease_end,
                owner,
                None,
                "",
                installations,
                None,
            )
            for batch, installations in settlement.remaining
        ],
        [
            (
                outcome.batch.app_id,
                outcome.batch.push_id,
                outcome.batch.batch_id,
                outcome.batch.attempt,
                outcome.outcome,
                outcome.status,
                outcome.reason,
                outcome.installations,
            )
            for outcome in settlement.outcomes
        ],
        [
            (
                retry.batch.app_id,
                retry.batch.push_id,
                batch_id(),
                retry.attempt,
                retry.due_at,
                None,
                retry.held_by,
                retry.reason,
                retry.installations,
                retry.batch.batch_id,
            )
            for retry in settlement.retries
        ],
        now,
        MAX_SMALL_BATCH_SIZE,
    )
    return {row[0] for row in rows}
