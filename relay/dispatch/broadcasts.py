"""Broadcasts: pushes to every customer of an app, on their way from one row to batches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from relay.core.clock import Clock
from relay.dispatch.work_loop import WorkLoop
from relay.store.database import Database
from relay.store.push.broadcasts import BroadcastRepository
from relay.store.webhooks.outbox import OutboxRepository
from relay.telemetry import counts

_PIECE = 20
"""So many batches are cut in one transaction, at most."""
_DUE = 200
"""While so many batches of an app are due, no more are cut: what waits beyond them is one row a broadcast. To work them
off takes longer than `poll`, so dispatch does not wait for the next look."""

_NODE_IS_RUNNING = timedelta(seconds=30)
"""A node that was seen within this time may be cutting."""


class Broadcaster:
    """Cuts broadcasts into batches for whoever dispatches them. `on_cut` is called after each piece.

    Apps take turns, piece by piece, each with its oldest broadcast; several nodes cut different ones. What a node was
    cutting when it died is rolled back, and the next one begins that piece again. `queue_limit`: batches of one app
    that may wait.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        batch_size: int,
        queue_limit: int,
        poll: float,
        on_cut: Callable[[], None],
    ) -> None:
        self._database = database
        self._broadcasts = BroadcastRepository(database)
        self._outbox = OutboxRepository()
        self._clock = clock
        self._batch_size = batch_size
        self._queue_limit = queue_limit
        self._last_app = ""
        self._on_cut = on_cut
        self._work = WorkLoop("the broadcasts cannot be read", self._cut, poll)

    def wake(self) -> None:
        """There is a new broadcast."""
        self._work.wake()

    async def run(self) -> None:
        """Work until cancelled. A database that is away is waited for."""
        await self._work.run()

    async def _cut(self) -> bool:
        """Cut a piece of a broadcast. Returns whether there was any to cut."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await self._broadcasts.adopt_broadcasts(connection, now - _NODE_IS_RUNNING)
            piece = None
            for cut in (self._broadcasts.cut_by_team, self._broadcasts.cut_broadcast):
                piece = await cut(
                    connection,
                    _PIECE * self._batch_size,
                    self._batch_size,
                    now,
                    after_app=self._last_app,
                    due_limit=_DUE,
                    queue_limit=self._queue_limit,
                )
                if piece is not None:
                    break
            if piece is not None and piece.is_last:  # perhaps all of it has been sent
                await self._outbox.store_completed_messages(connection, [(piece.app_id, piece.push_id)], now)
        if piece is not None:
            self._last_app = piece.app_id
            counts.targets(piece.targets)
            self._on_cut()
        return piece is not None
