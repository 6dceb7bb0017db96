"""The outbox: messages to webhooks, written by the transaction of the event they report.

So a message exists exactly if its event was committed. Only batches of apps with a webhook come here
(`ClaimedBatch.has_webhook`, known once a batch is resolved), so settlements of other apps pay nothing for it. Pushes
accepted after a webhook was created are reported to it, whichever node settles them.

The settlement that ends the last delivery of a push writes `push.completed`. Several nodes may settle batches of one
push at the same time, and none of them sees what the others have not committed. So each locks the push before it looks:
the last one sees everything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.webhooks.messages import EVENT_OF_OUTCOME, MAX_COPIES, EventType
from relay.store import sql
from relay.store.database import Connection

_SQL = sql.load(__package__, "outbox.sql")

PushKey = tuple[str, UUID]
"""The app_id and push id of a push."""


class EndedDeliveries(NamedTuple):
    """Installations of a push whose deliveries ended with one outcome, status and reason."""

    app_id: str
    push_id: UUID
    outcome: str
    status: int
    reason: str
    installations: Sequence[int]


class OutboxRepository:
    """The writing side of the outbox. It has no database: every method joins the transaction of its caller."""

    async def find_apps_with_webhook(self, connection: Connection, app_ids: Collection[str]) -> set[str]:
        """Return those of the apps that have an enabled webhook."""
        return {row[0] for row in await connection.fetch(_SQL["find_apps_with_webhook"], list(app_ids))}

    async def store_delivery_messages(
        self, connection: Connection, ended: Iterable[EndedDeliveries], now: datetime
    ) -> None:
        """Store messages about deliveries that the transaction settled, as far as their outcome is reported."""
        installations_by_result: dict[tuple[str, UUID, str, int, str], list[int]] = defaultdict(list)
        for deliveries in ended:
            if deliveries.outcome in EVENT_OF_OUTCOME:
                installations_by_result[deliveries[:-1]].extend(deliveries.installations)
        rows = [
            (
                app_id,
                push_id,
                EVENT_OF_OUTCOME[outcome],
                outcome,
                *cause,
                installations[start : start + MAX_COPIES],
            )
            for (app_id, push_id, outcome, *cause), installations in installations_by_result.items()
            for start in range(0, len(installations), MAX_COPIES)
        ]
        if rows:
            await connection.execute(_SQL["store_delivery_messages"], rows, now)

    async def store_completed_messages(
        self, connection: Connection, pushes: Iterable[PushKey], now: datetime
    ) -> None:
        """Store a `push.completed` message for those of `pushes` that have ended.

        Called at the end of every transaction that ends a part of a push: a batch, the cutting of a broadcast, or the
        whole push. Pushes of apps without a webhook are allowed and get no message.
        """
        if keys := sorted(set(pushes)):
            columns = [app_id for app_id, _ in keys], [push_id for _, push_id in keys]
            await connection.execute(_SQL["lock_pushes"], *columns)
            await connection.execute(
                _SQL["store_completed_messages"], *columns, now, EventType.PUSH_COMPLETED
            )
