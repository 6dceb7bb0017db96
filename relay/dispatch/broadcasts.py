"""Broadcasts: pushes to every customer of an app, on their way from one row to batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from relay.errors import describe
from relay.store import broadcasts
from relay.store.database import Database

_log = logging.getLogger(__name__)
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
        self._poll = poll
        self._on_cut = on_cut
        self._wakeup = asyncio.Event()

    def wake(self) -> None:
        """There is a new broadcast."""
        self._wakeup.set()

    async def run(self) -> None:
        """Work until cancelled. A database that is away is waited for."""
        while True:
            self._wakeup.clear()
            try:
                async with self._database.connection() as connection:
                    found = await broadcasts.cut(connection, _PIECE * self._batch_size, self._batch_size)
            except Exception as error:  # whatever it is, the next one may go well
                _log.warning("the broadcasts cannot be read: %s", describe(error))
                found = None
            if found is not None:
                self._on_cut()
                continue
            try:
                async with asyncio.timeout(self._poll):
                    await self._wakeup.wait()
            except TimeoutError:
                pass
