"""Settlement: what was decided is written by one transaction at a time; what comes meanwhile goes with the next.

The life of a lease, as this node sees it:

=============  ==========================================  ==========================================================
state          what happens                                where it goes
=============  ==========================================  ==========================================================
leased         an installation ends                        partly ended
partly ended   the last one ends                           ended: written at once
partly ended   `MAX_UNSETTLED` more, or `settle_interval`  leased: what ended is written, and the row shrinks
ended          the transaction is committed                forgotten; `on_ended`
any            the transaction says the lease was lost     forgotten: the node that has it now settles it
any            writing fails for good, `abandon`           forgotten: due again when its lease ends
any            `keep_leases`, every third of a lease       the same, until a lease from now
=============  ==========================================  ==========================================================

A batch row shrinks to what is still open of it, so a node that takes it over sends no more. What is wrong with a batch
harms no other: what cannot be written together is written piece by piece.
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
from relay.dispatch import push_log
from relay.dispatch.decisions import Decisions
from relay.store.database import Database
from relay.store.push.batches import BatchRepository
from relay.store.push.records import DeliveryOutcome, Retry, Settlement
from relay.store.push.settlement import SettlementRepository
from relay.telemetry import counts
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import GROUP_SIZE, PUSH_SECONDS
from relay.telemetry.traces import NO_TRACES, Traces

_log = get_logger(__name__)
MAX_UNSETTLED = 1000
"""Installations of a batch whose end may wait for the others of the batch."""
_PAUSE_SECONDS = 0.5
"""Seconds before a settlement that could not be written is tried again."""
_GROUP_SIZE = GROUP_SIZE.labels("settlement")


@dataclass(slots=True)
class _OpenBatch:
    """A batch under this node's lease.

    `open_count` of its installations have not ended. `left` are these, None while nothing of it has ended. `stored` is
    the number of installations that its row holds, as far as this node knows. When `open_count` is 0 the batch stays
    until that is written: its lease must be kept until then.
    """

    batch: ClaimedBatch
    open_count: int
    stored: int
    left: set[int] | None = None
    gathered: Decisions | None = None
    """What has ended and is not handed to a transaction yet."""
    gathered_count: int = 0


class Settler:
    """Writes what became of the batches of this node. `owner` is the node's lease.

    `on_ended` is called with batches that have ended, when that is written; `on_messages` after messages for webhooks
    may have been written; `wake_at` with retries, to look at the queue when they are due.
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
        settle_interval: float = 0.2,
        on_ended: Callable[[Sequence[ClaimedBatch]], None] = lambda batches: None,
        on_messages: Callable[[], None] = lambda: None,
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
        self._settle_interval = settle_interval
        self._on_ended = on_ended
        self._on_messages = on_messages
        self._traces = traces
        self._open: dict[int, _OpenBatch] = {}
        self.in_flight = 0
        """Installations leased by this node whose end has not been written: what a crash may repeat, at most."""
        self._answered = 0
        self._gathered = Settlement()
        self._partial: dict[int, _OpenBatch] = {}
        """Batches of which a part has ended that is not in `_gathered` yet."""
        self._partial_timer: asyncio.TimerHandle | None = None
        self._touched: set[int] = set()
        """Batches whose row must shrink with the next transaction."""
        self._writing: asyncio.Task[None] | None = None

    def open(self, batches: Sequence[ClaimedBatch]) -> list[ClaimedBatch]:
        """Note leased batches. Returns those that are new to this node.

        When the database was away for longer than a lease, what this node is sending is due again, and this node may
        be the one that leases it: what is under way goes on, and does not begin once more. But where the row holds
        less than this node left in it, another has settled a part in between: then only what was leased now counts.
        """
        new = []
        for batch in batches:
            count = len(batch.installations)
            known = self._open.get(batch.batch_id)
            if known is not None:
                if count >= known.stored:
                    continue
                self.abandon([known.batch])
            self._open[batch.batch_id] = _OpenBatch(batch, count, count)
            self.in_flight += count
            new.append(batch)
        return new

    def add(self, decisions: Decisions) -> None:
        """Take what was decided on a send job, or a part of one.

        It is written when its batch has ended, `MAX_UNSETTLED` installations of the batch have, or `settle_interval`
        seconds have passed: so a batch for many teams is settled a few times and not once for each of them.
        """
        known: _OpenBatch | None = None
        for outcome in decisions.outcomes:
            if (known := self._close_part(outcome.batch, outcome.installations)) is not None:
                _merge_outcome(known, outcome)
        for retry in decisions.again:
            if (known := self._close_part(retry.batch, retry.installations)) is not None:
                _merge_retry(known, retry)
        if known is not None:
            gathered = _gathered_of(known)
            gathered.retirements += decisions.retirements
            gathered.traces += decisions.traces
            self._hand_over_if_due(known)
        elif decisions.retirements or decisions.traces:  # the lease was lost: they are true all the same
            self._gathered.retirements += decisions.retirements
            self._gathered.traces += decisions.traces
            self._write_soon()

    def _close_part(self, batch: ClaimedBatch, installations: Sequence[int]) -> _OpenBatch | None:
        """Note that these installations have ended. None if the lease was lost, even if it came back since."""
        known = self._ours(batch)
        if known is None:
            return None
        before = known.open_count
        if known.left is None and len(installations) >= known.open_count:
            known.open_count = 0
        else:
            if known.left is None:
                known.left = set(batch.installations)
            known.left.difference_update(installations)
            known.open_count = len(known.left)
        known.gathered_count += before - known.open_count
        return known

    def _hand_over_if_due(self, known: _OpenBatch) -> None:
        if not (known.open_count and self._settle_interval) or known.gathered_count >= MAX_UNSETTLED:
            self._hand_over(known)
            self._write_soon()
        else:
            self._partial[known.batch.batch_id] = known
            if self._partial_timer is None:
                loop = asyncio.get_running_loop()
                self._partial_timer = loop.call_later(self._settle_interval, self._hand_over_partial)

    def _hand_over_partial(self) -> None:
        self._partial_timer = None
        for known in list(self._partial.values()):
            self._hand_over(known)
        self._write_soon()

    def _hand_over(self, known: _OpenBatch) -> None:
        """Move what was gathered of a batch to the next transaction."""
        batch_id = known.batch.batch_id
        self._partial.pop(batch_id, None)
        if known.gathered is not None:
            self._gathered.outcomes.extend(known.gathered.outcomes)
            self._gathered.retries.extend(known.gathered.again)
            self._gathered.retirements.extend(known.gathered.retirements)
            self._gathered.traces.extend(known.gathered.traces)
            known.gathered = None
        self._answered += known.gathered_count
        known.gathered_count = 0
        if known.open_count:
            self._touched.add(batch_id)
        else:
            self._touched.discard(batch_id)
            self._gathered.ended.append(known.batch)

    def _write_soon(self) -> None:
        if self._writing is None and not (self._gathered.is_empty and not self._touched):
            self._writing = asyncio.create_task(self._write_all())

    def _ours(self, batch: ClaimedBatch) -> _OpenBatch | None:
        known = self._open.get(batch.batch_id)
        return known if known is not None and known.batch is batch else None

    async def _write_all(self) -> None:
        try:
            while not self._gathered.is_empty or self._touched:
                settlement, self._gathered = self._gathered, Settlement()
                touched, self._touched = self._touched, set()
                answered, self._answered = self._answered, 0
                settlement.remaining = [
                    (known.batch, self._left_of(known))
                    for known in map(self._open.get, touched)
                    if known is not None and known.left
                ]
                try:
                    await self._write(settlement)
                finally:
                    self.in_flight -= answered
                self._wake_at(settlement.retries)
        finally:
            self._writing = None

    @staticmethod
    def _left_of(known: _OpenBatch) -> list[int]:
        """Return what the row of a batch must hold: what is open, and what has ended but is not in the transaction."""
        assert known.left is not None  # something of it has ended
        left = list(known.left)
        if known.gathered is not None:
            for outcome in known.gathered.outcomes:
                left.extend(outcome.installations)
            for retry in known.gathered.again:
                left.extend(retry.installations)
        return left

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
        """Write a settlement, however long the database is away. Raises what will not pass."""
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
                await asyncio.sleep(_PAUSE_SECONDS)
        _count(settlement, None if repeated else owned, now)
        self.abandon(settlement.ended)  # nothing is open of them, and now that is written
        self._on_ended(settlement.ended)
        if push_log.is_followed():
            push_log.settled(settlement)
        for batch, left in settlement.remaining:
            if (known := self._ours(batch)) is not None:
                known.stored = len(left)
        # After a failure we can't know whether the first try was committed: then its rows look as if not ours.
        lost = [batch for batch, _ in settlement.remaining if batch.batch_id not in owned]
        if lost and not repeated:
            _log.warning("leases were lost; another node settles these batches", batches=len(lost))
            self.abandon(lost)
        if settlement.concerns_webhooks:
            self._on_messages()

    def _leave_out_lost(self, settlement: Settlement) -> None:
        """Take out batches that this node no longer has: they may be leased elsewhere, as a whole."""
        settlement.ended = [batch for batch in settlement.ended if self._ours(batch)]
        settlement.remaining = [part for part in settlement.remaining if self._ours(part[0])]
        settlement.outcomes = [outcome for outcome in settlement.outcomes if self._ours(outcome.batch)]
        settlement.retries = [retry for retry in settlement.retries if self._ours(retry.batch)]

    def abandon(self, batches: Iterable[ClaimedBatch]) -> None:
        """Let go of batches: what is open of them comes back to the queue when the lease ends."""
        for batch in batches:
            if (known := self._ours(batch)) is not None:
                del self._open[batch.batch_id]
                self._partial.pop(batch.batch_id, None)
                self.in_flight -= known.open_count + known.gathered_count
                self._touched.discard(batch.batch_id)

    async def keep_leases(self) -> None:
        """Extend the leases of everything that is ours. Called every third of a lease. Raises Unavailable."""
        if self._open:
            batches = [known.batch for known in self._open.values()]
            await self._batches.extend_leases(self._owner, batches, self._clock.now() + self._lease)

    async def aclose(self) -> None:
        """Wait until everything added is written; hand back what is still in flight. Raises Unavailable.

        If it is cancelled, what is not written comes back when the leases end.
        """
        if self._partial_timer is not None:
            self._partial_timer.cancel()
            self._hand_over_partial()
        if self._writing is not None:
            try:
                await asyncio.shield(self._writing)
            except asyncio.CancelledError:
                self._writing.cancel()
                raise
        await self._batches.release_batches(self._owner, self._clock.now())


def _gathered_of(known: _OpenBatch) -> Decisions:
    if known.gathered is None:
        known.gathered = Decisions()
    return known.gathered


def _merge_outcome(known: _OpenBatch, outcome: DeliveryOutcome) -> None:
    """Gather an outcome: one ledger row for all installations of a batch that ended alike, whatever their teams."""
    outcomes = _gathered_of(known).outcomes
    for other in outcomes:
        if (other.outcome, other.status, other.reason) == (outcome.outcome, outcome.status, outcome.reason):
            if not isinstance(other.installations, list):
                other.installations = list(other.installations)
            other.installations.extend(outcome.installations)
            return
    outcomes.append(outcome)


def _merge_retry(known: _OpenBatch, retry: Retry) -> None:
    """Gather a retry: one batch for all that is tried again for one reason, whatever their teams.

    What goes back without an attempt, to wait for its credential's lane, keeps a due time of its own.
    """
    retries = _gathered_of(known).again
    if retry.attempt > known.batch.attempt:
        for other in retries:
            if (other.attempt, other.held_by, other.reason) == (retry.attempt, retry.held_by, retry.reason):
                other.installations = [*other.installations, *retry.installations]
                other.due_at = max(other.due_at, retry.due_at)
                return
    retries.append(retry)


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
