"""Settlement: what legs came to is written by one transaction at a time; what comes meanwhile goes with the next.

Nothing waits for a timer: the first result of an idle moment is written at once, and under load the transactions
grow by themselves. A batch row shrinks to what is still open of it, so a node that takes it over sends no more.

Whatever is wrong with a batch harms no other: what cannot be written together is written piece by piece.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from relay.core.clock import Clock
from relay.core.delivery.plan import ClaimedBatch
from relay.core.errors import RelayError, describe_error
from relay.dispatch import push_log as following
from relay.dispatch.decisions import Decisions
from relay.store.database import Database
from relay.store.push.batches import BatchRepository
from relay.store.push.records import Retry, Settlement
from relay.store.push.settlement import SettlementRepository
from relay.telemetry import counts
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import GROUP_SIZE, PUSH_SECONDS
from relay.telemetry.traces import NO_TRACES, Traces

_log = get_logger(__name__)
_PAUSE = 0.5
"""Seconds before a settlement that could not be written is tried again."""
_GROUP_SIZE = GROUP_SIZE.labels("settlement")


@dataclass(slots=True)
class _Open:
    """A batch that is this node's: how much of it is open and, once a part of it has ended, what exactly.

    When nothing is open any more it stays until that is written: its lease has to be kept until then. `stored` is how
    many installations its row holds, as far as we know.
    """

    batch: ClaimedBatch
    count: int
    stored: int
    left: set[int] | None = None


class Settler:
    """Writes what became of the batches of this node. `owner` is the node's lease.

    `on_ended` is called with batches of which nothing is open any more, when that is written; `on_told` after something
    was written that a publisher may want to know of.
    """

    def __init__(
        self,
        database: Database,
        owner: UUID,
        clock: Clock,
        batch_id: Callable[[], int],
        *,
        lease: float,
        wake_at: Callable[[Iterable[Retry]], None],
        on_ended: Callable[[Sequence[ClaimedBatch]], None] = lambda batches: None,
        on_told: Callable[[], None] = lambda: None,
        traces: Traces = NO_TRACES,
    ) -> None:
        self._database = database
        self._batches = BatchRepository(database)
        self._settlements = SettlementRepository()
        self._owner = owner
        self._clock = clock
        self._batch_id = batch_id
        self._lease = timedelta(seconds=lease)
        self._wake_at = wake_at
        self._on_ended = on_ended
        self._on_told = on_told
        self._traces = traces
        self._open: dict[int, _Open] = {}
        self.in_flight = 0
        """Installations claimed by this node whose end has not been written: what a crash may repeat, at most."""
        self._answered = 0
        self._gathered = Settlement()
        self._touched: set[int] = set()
        self._writing: asyncio.Task[None] | None = None

    def open(self, batches: Sequence[ClaimedBatch]) -> list[ClaimedBatch]:
        """Claimed batches are on their way. Returns those that were not already.

        When the database was away for longer than a lease, what this node is sending is due again, and this node may
        be the one that claims it: what is under way goes on, and is not begun once more. But where the row holds less
        than we left in it, somebody else has settled a part in between: then only what was claimed counts.
        """
        new = []
        for batch in batches:
            count = len(batch.installations)
            known = self._open.get(batch.batch_id)
            if known is not None:
                if count >= known.stored:
                    continue
                self.abandon([known.batch])
            self._open[batch.batch_id] = _Open(batch, count, count)
            self.in_flight += count
            new.append(batch)
        return new

    def add(self, judged: Decisions) -> None:
        """What a leg, or a part of one, came to."""
        gathered = self._gathered
        gathered.outcomes.extend(
            one for one in judged.outcomes if self._close_part(one.batch, one.installations)
        )
        gathered.retries.extend(one for one in judged.again if self._close_part(one.batch, one.installations))
        gathered.retirements.extend(judged.retirements)
        gathered.traces.extend(judged.traces)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    def _close_part(self, batch: ClaimedBatch, installations: Sequence[int]) -> bool:
        """Whether these installations were ours to end: not if the lease was lost, even if it came back since."""
        one = self._ours(batch)
        if one is None:
            return False
        before = one.count
        if one.left is None and len(installations) >= one.count:
            one.count = 0
        else:
            if one.left is None:
                one.left = set(batch.installations)
            one.left.difference_update(installations)
            one.count = len(one.left)
        self._answered += before - one.count
        if one.count:
            self._touched.add(batch.batch_id)
        else:
            self._touched.discard(batch.batch_id)
            self._gathered.ended.append(batch)
        return True

    def _ours(self, batch: ClaimedBatch) -> _Open | None:
        one = self._open.get(batch.batch_id)
        return one if one is not None and one.batch is batch else None

    async def _write_all(self) -> None:
        try:
            while not self._gathered.is_empty or self._touched:
                settlement, self._gathered = self._gathered, Settlement()
                touched, self._touched = self._touched, set()
                answered, self._answered = self._answered, 0
                settlement.remaining = [
                    (one.batch, list(one.left))
                    for one in map(self._open.get, touched)
                    if one is not None and one.left
                ]
                try:
                    await self._write(settlement)
                finally:
                    self.in_flight -= answered
                self._wake_at(settlement.retries)
        finally:
            self._writing = None

    async def _write(self, settlement: Settlement) -> None:
        try:
            await self._write_together(settlement)
        except Exception as error:
            pieces = _pieces(settlement)
            _log.error("a settlement is written in pieces", pieces=len(pieces), error=describe_error(error))
            for piece in pieces:
                try:
                    await self._write_together(piece)
                except Exception as fault:
                    # What can't be written must not hold up the rest: a batch comes back when its lease ends.
                    _log.error("a piece of a settlement is given up", error=describe_error(fault))
                    self.abandon(piece.ended)
                    self.abandon(batch for batch, _ in piece.remaining)

    async def _write_together(self, settlement: Settlement) -> None:
        """Write it, however long the database is away. Raises what will not pass."""
        repeated = False
        while True:
            self._leave_out_lost(settlement)
            now = self._clock.now()
            try:
                with self._traces.work("settle", _pushes(settlement)):
                    async with self._database.connection() as connection:
                        owned = await self._settlements.settle_batches(
                            connection, self._owner, settlement, now, now + self._lease, self._batch_id
                        )
                break
            except RelayError as error:
                _log.warning("a settlement waits", error=describe_error(error))
                repeated = True
                await asyncio.sleep(_PAUSE)
        _count(settlement, None if repeated else owned, now)
        self.abandon(settlement.ended)  # nothing is open of them, and now that is written
        self._on_ended(settlement.ended)
        if following.is_followed():
            following.settled(settlement)
        for batch, left in settlement.remaining:
            if (one := self._ours(batch)) is not None:
                one.stored = len(left)
        # After a failure we can't know whether the first try was committed: then its rows look as if not ours.
        lost = [batch for batch, _ in settlement.remaining if batch.batch_id not in owned]
        if lost and not repeated:
            _log.warning("leases were lost; another node settles these batches", batches=len(lost))
            self.abandon(lost)
        if settlement.concerns_webhooks:
            self._on_told()

    def _leave_out_lost(self, settlement: Settlement) -> None:
        """Of a batch that was let go since, nothing may be written: it may be claimed already, as a whole."""
        settlement.ended = [batch for batch in settlement.ended if self._ours(batch)]
        settlement.remaining = [part for part in settlement.remaining if self._ours(part[0])]
        settlement.outcomes = [one for one in settlement.outcomes if self._ours(one.batch)]
        settlement.retries = [one for one in settlement.retries if self._ours(one.batch)]

    def abandon(self, batches: Iterable[ClaimedBatch]) -> None:
        """Let go of batches: what is open of them comes back to the queue when the lease ends."""
        for batch in batches:
            if (one := self._ours(batch)) is not None:
                del self._open[batch.batch_id]
                self.in_flight -= one.count
                self._touched.discard(batch.batch_id)

    async def keep_leases(self) -> None:
        """Extend the leases of everything that is ours. Called every third of a lease."""
        if self._open:
            batches = [one.batch for one in self._open.values()]
            await self._batches.extend_leases(self._owner, batches, self._clock.now() + self._lease)

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
        await self._batches.release_batches(self._owner, self._clock.now())


def _count(settlement: Settlement, owned: set[int] | None, now: datetime) -> None:
    """What was written `now`: of the `owned` batches, or of all where the answer was lost and nobody knows."""
    ended: Counter[tuple[str, str]] = Counter()
    for one in settlement.outcomes:
        if owned is None or one.batch.batch_id in owned:
            ended[one.outcome, one.reason] += len(one.installations)
    retried: Counter[str] = Counter()
    for again in settlement.retries:  # held or put back without an attempt is no retry
        if again.attempt > again.batch.attempt and (owned is None or again.batch.batch_id in owned):
            retried[again.reason] += len(again.installations)
    counts.ended(ended)
    counts.retried(retried)
    counts.retired(Counter(one.reason for one in settlement.retirements))
    _GROUP_SIZE.observe(len(settlement.ended) + len(settlement.remaining))
    if settlement.ended:
        oldest = min(batch.accepted_at for batch in settlement.ended)
        PUSH_SECONDS.observe(max(0.0, (now - oldest).total_seconds()))  # another node's clock may be ahead


def _pushes(settlement: Settlement) -> Iterator[UUID]:
    for batch in settlement.ended:
        yield batch.push_id
    for batch, _ in settlement.remaining:
        yield batch.push_id


def _pieces(settlement: Settlement) -> list[Settlement]:
    """The same, as small as it can be: a batch each, an app's retirements each, a trace each."""
    batches: dict[int, Settlement] = defaultdict(Settlement)
    for batch in settlement.ended:
        batches[batch.batch_id].ended.append(batch)
    for part in settlement.remaining:
        batches[part[0].batch_id].remaining.append(part)
    for outcome in settlement.outcomes:
        batches[outcome.batch.batch_id].outcomes.append(outcome)
    for again in settlement.retries:
        batches[again.batch.batch_id].retries.append(again)
    apps: dict[str, Settlement] = defaultdict(Settlement)
    for retirement in settlement.retirements:
        apps[retirement.app_id].retirements.append(retirement)
    return [*batches.values(), *apps.values(), *(Settlement(traces=[one]) for one in settlement.traces)]
