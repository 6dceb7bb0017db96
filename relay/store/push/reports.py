"""Pushes read back: state, counts by outcome, deliveries, traces, and the list of an app's recent pushes.

A list of recent pushes costs as much for a million pushes as for a hundred, however large they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from relay.core.delivery.outcomes import Outcome, PushState
from relay.store import sql
from relay.store.database import Database
from relay.store.push.records import (
    DeliveryReport,
    OutcomeCount,
    RecentPush,
    StoredPush,
    TraceReport,
)

MAX_COUNTED_ROWS = 20
"""Rows of outcomes that a list reads of one push: 40,000 installations in the usual batches."""
_MAX_UUID = UUID(int=2**128 - 1)
_SQL = sql.load(__package__, "reports.sql")


class PushReportRepository:
    """Accepted pushes and their deliveries. Every method raises Unavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_push(self, app_ids: Sequence[str], push_id: UUID) -> StoredPush | None:
        """Return the push with that id if it belongs to one of these apps."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find_push"], app_ids, push_id)
        return StoredPush(**row) if row else None

    async def find_ended_pushes(self, pushes: Mapping[UUID, str]) -> set[UUID]:
        """Return those of `pushes`, app_ids by push id, that have an outcome for every target."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["find_ended_pushes"], list(pushes.values()), list(pushes))
        return {row[0] for row in rows}

    async def count_outcomes(self, app_id: str, push_id: UUID) -> list[OutcomeCount]:
        """Return the counts of the deliveries that have ended, by outcome and reason."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["count_outcomes"], app_id, push_id)
        return [OutcomeCount(Outcome(row[0]), row[1], row[2]) for row in rows]

    async def list_deliveries(
        self, app_id: str, push_id: UUID, after: tuple[int, int], limit: int
    ) -> list[DeliveryReport]:
        """Return up to `limit` deliveries in the order of their settlement.

        `after` is the (delivery_id, position) of the last one of the page before, (0, 0) for the first page.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_deliveries"], app_id, push_id, *after, limit)
        return [DeliveryReport(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]

    async def list_traces(self, app_id: str, push_id: UUID) -> list[TraceReport]:
        """Return the traces of a push for the devices that its publisher lists now, by installation and attempt."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_traces"], app_id, push_id)
        return [TraceReport(*row) for row in rows]

    async def list_recent_pushes(self, app_id: str, before: UUID | None, limit: int) -> list[RecentPush]:
        """Return up to `limit` pushes of an app, newest first, that are older than the push `before`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _SQL["list_recent_pushes"], app_id, before or _MAX_UUID, limit, MAX_COUNTED_ROWS + 1
            )
        return [
            RecentPush(
                row["push_id"],
                row["created_at"],
                row["push_type"],
                row["debug"],
                row["targets"],
                _push_state(row["cancelled"], row["waiting"], row["rows"]),
                json.loads(row["counts"] or "{}") if row["rows"] <= MAX_COUNTED_ROWS else None,
                row["label"] or "",
                row["kind"] or "",
            )
            for row in rows
        ]


def _push_state(cancelled: bool, waiting: bool, outcome_rows: int) -> PushState:
    if cancelled:
        return PushState.CANCELLED
    if waiting:
        return PushState.SENDING if outcome_rows else PushState.QUEUED
    return PushState.DONE
