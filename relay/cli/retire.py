"""`push-relay retire`: the retirement of copies of an app, with all their tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

from relay.core.clock import Clock
from relay.core.errors import NotFound
from relay.store.database import Database
from relay.store.installations.installations import (
    RETIRED_PER_TRANSACTION,
    ActiveInstallation,
    InstallationRepository,
)
from relay.store.operations.audit import COMMAND_LINE

MAX_SHOWN_COPIES = 100
"""Copies that are listed; of further ones only the number is shown."""


class CopyRetirement:
    """The retirement of all copies of `subjects` (c_, d_, installation UUIDs) or, without subjects, of the app."""

    def __init__(self, database: Database, app_id: str, subjects: Sequence[str | UUID], clock: Clock) -> None:
        self._installations = InstallationRepository(database)
        self._app_id = app_id
        self._subjects: Sequence[str | UUID | None] = subjects or (None,)
        self._clock = clock

    async def find_copies(self) -> tuple[int, list[ActiveInstallation]]:
        """Return the number of these copies, and the first hundred.

        Raises:
            NotFound: the app never had one of the subjects.
        """
        for subject in self._subjects:
            if isinstance(subject, UUID):
                if await self._installations.find_app_of_installation(subject) != self._app_id:
                    raise NotFound(f"The app has no installation {subject}.")
            elif subject is not None and not await self._installations.identifier_exists(
                self._app_id, subject
            ):
                raise NotFound(f"The app has no customer or device {subject}.")
        if self._subjects == (None,):
            count = await self._installations.count_active_installations(self._app_id)
            return count, await self._installations.list_active_installations(
                self._app_id, None, limit=MAX_SHOWN_COPIES
            )
        copies = {copy.installation_id: copy async for piece in self._pieces() for copy in piece}
        return len(copies), list(copies.values())[:MAX_SHOWN_COPIES]

    async def carry_out(self, advance: Callable[[int], None]) -> int:
        """Retire the copies and return their number.

        Each transaction retires up to 500 and calls `advance` with their number. After a failure, those that remain
        are unchanged: run the command again.

        Raises:
            Unavailable: the database does not answer.
        """
        retired = 0
        async for piece in self._pieces():
            now = self._clock.now()
            retired += await self._installations.retire_installations(self._app_id, piece, now, COMMAND_LINE)
            advance(len(piece))
        return retired

    async def _pieces(self) -> AsyncIterator[list[ActiveInstallation]]:
        for subject in self._subjects:
            after = 0
            while piece := await self._installations.list_active_installations(
                self._app_id, subject, after, RETIRED_PER_TRANSACTION
            ):
                yield piece
                after = piece[-1].installation_id
