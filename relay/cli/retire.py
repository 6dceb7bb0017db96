"""`push-relay retire`: copies of an app that are to get nothing any more, with all their tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

from relay.core.clock import Clock
from relay.core.errors import NotFound
from relay.store.database import Database
from relay.store.installations.retiring import PIECE, ActiveCopy, Retiring
from relay.store.operations.audit import COMMAND_LINE

SHOWN = 100
"""Copies that are named; of more, only the number is told."""


class Retirement:
    """What is to be retired: all copies of each of `subjects` (c_, d_, installation UUIDs); of all the app, if none."""

    def __init__(self, database: Database, app_id: str, subjects: Sequence[str | UUID], clock: Clock) -> None:
        self._retiring = Retiring(database)
        self._app_id = app_id
        self._subjects: Sequence[str | UUID | None] = subjects or (None,)
        self._clock = clock

    async def look(self) -> tuple[int, list[ActiveCopy]]:
        """How many copies that is, and the first hundred of them. Raises NotFound for what the app never had."""
        for subject in self._subjects:
            if isinstance(subject, UUID):
                if await self._retiring.app_of(subject) != self._app_id:
                    raise NotFound(f"The app has no installation {subject}.")
            elif subject is not None and not await self._retiring.knows(self._app_id, subject):
                raise NotFound(f"The app has no customer or device {subject}.")
        if self._subjects == (None,):
            count = await self._retiring.count(self._app_id)
            return count, await self._retiring.copies(self._app_id, None, limit=SHOWN)
        copies = {copy.installation_id: copy async for piece in self._pieces() for copy in piece}
        return len(copies), list(copies.values())[:SHOWN]

    async def carry_out(self, advance: Callable[[int], None]) -> int:
        """Retire them, 500 a transaction; `advance` is called with how many that were. Returns how many in all.

        If it breaks off, the rest is as it was: run it again. Raises Unavailable.
        """
        retired = 0
        async for piece in self._pieces():
            now = self._clock.now()
            retired += await self._retiring.retire(self._app_id, piece, now, COMMAND_LINE)
            advance(len(piece))
        return retired

    async def _pieces(self) -> AsyncIterator[list[ActiveCopy]]:
        for subject in self._subjects:
            after = 0
            while piece := await self._retiring.copies(self._app_id, subject, after, PIECE):
                yield piece
                after = piece[-1].installation_id
