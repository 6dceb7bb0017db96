"""Broadcasts: pushes to every customer of an app, on their way from one row to batches."""

from __future__ import annotations

from collections.abc import Callable

from relay.dispatch.turns import Turns
from relay.store import broadcasts
from relay.store.database import Database

_PIECE = 20
"""So many batches are cut in one transaction."""


class Broadcaster:
    """Cuts broadcasts into batches for whoever dispatches them. `on_cut` is called after each piece.

    Broadcasts take turns, piece by piece; several nodes cut different ones. What a node was cutting when it died is
    rolled back, and the next one begins that piece again.
    """

    def __init__(
        self, database: Database, *, batch_size: int, poll: float, on_cut: Callable[[], None]
    ) -> None:
        self._database = database
        self._batch_size = batch_size
        self._on_cut = on_cut
        self._turns = Turns("the broadcasts cannot be read", self._cut, poll)

    def wake(self) -> None:
        """There is a new broadcast."""
        self._turns.wake()

    async def run(self) -> None:
        """Work until cancelled. A database that is away is waited for."""
        await self._turns.run()

    async def _cut(self) -> bool:
        async with self._database.connection() as connection:
            found = await broadcasts.cut(connection, _PIECE * self._batch_size, self._batch_size)
        if found is not None:
            self._on_cut()
        return found is not None
