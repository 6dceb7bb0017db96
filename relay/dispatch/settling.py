"""Settlement: what legs came to is written by one transaction at a time; what comes meanwhile goes with the next.

Nothing waits for a timer: the first result of an idle moment is written at once, and under load the transactions
grow by themselves. A batch row shrinks to what is still open of it, so a node that takes it over sends no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from relay.core.clock import Clock
from relay.core.routing import ClaimedBatch
from relay.dispatch.judging import Judged
from relay.errors import RelayError, describe
from relay.store import queue
from relay.store.database import Database
from relay.store.queue import Again, Settlement

_log = logging.getLogger(__name__)
_PAUSE = 0.5
"""Seconds before a settlement that could not be written is tried again."""


@dataclass(slots=True)
class _Open:
    """A batch that is this node's: how much of it is open and, once a part of it has ended, what exactly.

    When nothing is open any more it stays until that is written: its lease has to be kept until then.
    """

    batch: ClaimedBatch
    count: int
    left: set[int] | None = None


class Settler:
    """Writes what became of the batches of this node. `owner` is the node's lease."""

    def __init__(
        self,
        database: Database,
        owner: UUID,
        clock: Clock,
        batch_id: Callable[[], int],
        *,
        lease: float,
        wake_at: Callable[[Iterable[Again]], None],
    ) -> None:
        self._database = database
        self._owner = owner
        self._clock = clock
        self._batch_id = batch_id
        self._lease = timedelta(seconds=lease)
        self._wake_at = wake_at
        self._open: dict[int, _Open] = {}
        self.in_flight = 0
        """Installations claimed by this node that have not ended."""
        self._gathered = Settlement()
        self._touched: set[int] = set()
        self._writing: asyncio.Task[None] | None = None

    def open(self, batches: Sequence[ClaimedBatch]) -> list[ClaimedBatch]:
        """Claimed batches are on their way. Returns those that were not already.

        When the database was away for longer than a lease, what this node is sending is due again, and this node may
        be the one that claims it: what is under way goes on, and is not begun once more.
        """
        new = [batch for batch in batches if batch.batch_id not in self._open]
        for batch in new:
            self._open[batch.batch_id] = _Open(batch, len(batch.installations))
            self.in_flight += len(batch.installations)
        return new

    def add(self, judged: Judged) -> None:
        """What a leg, or a part of one, came to."""
        gathered = self._gathered
        gathered.outcomes.extend(
            one for one in judged.outcomes if self._close_part(one.batch, one.installations)
        )
        gathered.again.extend(one for one in judged.again if self._close_part(one.batch, one.installations))
        gathered.retirements.extend(judged.retirements)
        gathered.traces.extend(judged.traces)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    def _close_part(self, batch: ClaimedBatch, installations: Sequence[int]) -> bool:
        """Whether these installations were ours to end: not if the lease was lost, even if it came back since."""
        one = self._open.get(batch.batch_id)
        if one is None or one.batch is not batch:
            return False
        before = one.count
        if one.left is None and len(installations) >= one.count:
            one.count = 0
        else:
            if one.left is None:
                one.left = set(batch.installations)
            one.left.difference_update(installations)
            one.count = len(one.left)
        self.in_flight -= before - one.count
        if one.count:
            self._touched.add(batch.batch_id)
        else:
            self._touched.discard(batch.batch_id)
            self._gathered.ended.append(batch)
        return True

    async def _write_all(self) -> None:
        try:
            while not self._gathered.is_empty or self._touched:
                settlement, self._gathered = self._gathered, Settlement()
                touched, self._touched = self._touched, set()
                settlement.remaining = [
                    (one.batch, list(one.left))
                    for one in map(self._open.get, touched)
                    if one is not None and one.left
                ]
                await self._write(settlement)
        finally:
            self._writing = None

    async def _write(self, settlement: Settlement) -> None:
        repeated = False
        while True:
            now = self._clock.now()
            try:
                async with self._database.connection() as connection:
                    owned = await queue.settle(
                        connection, self._owner, settlement, now, now + self._lease, self._batch_id
                    )
                break
            except RelayError as error:
                _log.warning("a settlement waits: %s", describe(error))
                repeated = True
                await asyncio.sleep(_PAUSE)
            except Exception as error:
                # A settlement that can't be written must not hold up the next: its batches come back.
                _log.error("a settlement failed: %s", describe(error))
                self.abandon(settlement.ended)
                self.abandon(batch for batch, _ in settlement.remaining)
                return
        self.abandon(settlement.ended)  # nothing is open of them, and now that is written
        # After a failure we can't know whether the first try was committed: then its rows look as if not ours.
        lost = [batch for batch, _ in settlement.remaining if batch.batch_id not in owned]
        if lost and not repeated:
            _log.warning("the leases of %d batches were lost; another node settles them", len(lost))
            self.abandon(lost)
        self._wake_at(settlement.again)

    def abandon(self, batches: Iterable[ClaimedBatch]) -> None:
        """Let go of batches: what is open of them comes back to the queue when the lease ends."""
        for batch in batches:
            one = self._open.get(batch.batch_id)
            if one is not None and one.batch is batch:
                del self._open[batch.batch_id]
                self.in_flight -= one.count
                self._touched.discard(batch.batch_id)

    async def keep_leases(self) -> None:
        """Extend the leases of everything that is ours. Called every third of a lease."""
        if self._open:
            batches = [one.batch for one in self._open.values()]
            async with self._database.connection() as connection:
                await queue.extend(connection, self._owner, batches, self._clock.now() + self._lease)

    async def aclose(self) -> None:
        """Wait until everything added is written; hand back what is still in flight. Raises Unavailable.

        If it is cancelled, what is not written comes back when the leases end.
        """
        if self._writing is not None:
            try:
                await asyncio.shield(self._writing)
            except asyncio.CancelledError:
                self._writing.cancel()
                raise
        async with self._database.connection() as connection:
            await queue.release(connection, self._owner, self._clock.now())
