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
from relay.errors import RelayError
from relay.store import queue
from relay.store.database import Database
from relay.store.queue import Again, Settlement

_log = logging.getLogger(__name__)
_PAUSE = 0.5
"""Seconds before a settlement that could not be written is tried again."""


@dataclass(slots=True)
class _Open:
    """A batch in flight: how much of it is open and, once a part of it has ended, what exactly."""

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
        """Installations claimed by this node and not yet settled."""
        self._gathered = Settlement()
        self._touched: set[int] = set()
        self._writing: asyncio.Task[None] | None = None

    def open(self, batches: Sequence[ClaimedBatch]) -> None:
        """Claimed batches are on their way."""
        for batch in batches:
            self._open[batch.batch_id] = _Open(batch, len(batch.installations))
            self.in_flight += len(batch.installations)

    def add(self, judged: Judged) -> None:
        """What a leg, or a part of one, came to."""
        gathered = self._gathered
        gathered.outcomes.extend(judged.outcomes)
        gathered.again.extend(judged.again)
        gathered.retirements.extend(judged.retirements)
        gathered.traces.extend(judged.traces)
        for outcome in judged.outcomes:
            self._close_part(outcome.batch, outcome.installations)
        for again in judged.again:
            self._close_part(again.batch, again.installations)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    def _close_part(self, batch: ClaimedBatch, installations: Sequence[int]) -> None:
        one = self._open.get(batch.batch_id)
        if one is None:  # its lease was lost meanwhile
            return
        before = one.count
        if one.left is None and len(installations) < one.count:
            one.left = set(batch.installations)
        if one.left is not None:
            one.left.difference_update(installations)
            one.count = len(one.left)
        else:
            one.count = 0
        self.in_flight -= before - one.count
        if one.count:
            self._touched.add(batch.batch_id)
        else:
            self._touched.discard(batch.batch_id)
            del self._open[batch.batch_id]
            self._gathered.ended.append(batch)

    async def _write_all(self) -> None:
        try:
            while self._gathered.ended or self._touched or self._gathered.outcomes or self._gathered.again:
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
        while True:
            now = self._clock.now()
            try:
                async with self._database.connection() as connection:
                    owned = await queue.settle(
                        connection, self._owner, settlement, now, now + self._lease, self._batch_id
                    )
                break
            except RelayError:
                _log.warning("a settlement waits for the database")
                await asyncio.sleep(_PAUSE)
            except Exception as error:
                # A settlement that can't be written must not hold up the next: its batches come back.
                _log.error("a settlement failed: %s", type(error).__name__)
                self.abandon([batch for batch, _ in settlement.remaining])
                return
        for batch in settlement.ended + [batch for batch, _ in settlement.remaining]:
            if batch.batch_id not in owned:
                _log.warning("the lease of a batch was lost; another node settles it")
                self.abandon([batch])
        self._wake_at(settlement.again)

    def abandon(self, batches: Iterable[ClaimedBatch]) -> None:
        """Let go of batches: what is open of them comes back to the queue when the lease ends."""
        for batch in batches:
            lost = self._open.pop(batch.batch_id, None)
            self.in_flight -= lost.count if lost else 0
            self._touched.discard(batch.batch_id)

    async def keep_leases(self) -> None:
        """Extend the leases of everything in flight. Called every third of a lease."""
        if self._open:
            async with self._database.connection() as connection:
                await queue.extend(connection, self._owner, list(self._open), self._clock.now() + self._lease)

    async def aclose(self, patience: float) -> None:
        """Wait up to `patience` seconds until everything added is written; hand back what is still in flight."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=patience)
            if self._writing is not None:
                self._writing.cancel()
        async with self._database.connection() as connection:
            await queue.release(connection, self._owner, self._clock.now())
