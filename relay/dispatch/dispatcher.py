"""The dispatcher: lease → resolve → send → decide → settle.

This module leases batches and hands them on. `resolver` makes a plan of them, `sending` carries it out, `decisions`
says what follows from answers, and `settlement` writes it. `fairness` bounds what each credential has under way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from relay.core.clock import Clock
from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.plan import ClaimedBatch, Plan, TargetGroup
from relay.core.delivery.retry import Backoff
from relay.core.delivery.sending import Credential, Sender
from relay.core.errors import RelayError, Unavailable, describe_error
from relay.core.ids import CredentialId
from relay.dispatch.credential_cache import CredentialCache
from relay.dispatch.decisions import DecisionMaker, Decisions
from relay.dispatch.fairness import Lanes
from relay.dispatch.resolver import LeasedBatches, Resolver, note_webhooks
from relay.dispatch.sending import Sending
from relay.dispatch.settlement import Settler
from relay.dispatch.simulation import simulate
from relay.dispatch.work_loop import WorkLoop
from relay.settings import DispatchSettings
from relay.store.database import Database
from relay.store.push.batches import BatchRepository
from relay.store.push.records import DeliveryOutcome, DispatchContext, Lease, Retry
from relay.store.webhooks.outbox import OutboxRepository
from relay.telemetry.logs import get_logger
from relay.telemetry.traces import NO_TRACES, Traces

_log = get_logger(__name__)
_MAX_SMALL_LEASED = 500
"""Small batches that are leased at once."""
_UNRESOLVED_PAUSE = timedelta(seconds=1)
"""How long batches wait that could not be resolved."""


class Dispatcher:
    """Works off the queue with this node's lease `owner`. `spread` gives random numbers from 0 to 1.

    `on_ended` is called with batches that have ended, when that is written; `on_messages` after messages for webhooks
    may have been written.
    """

    def __init__(
        self,
        *,
        database: Database,
        credentials: CredentialCache,
        sender: Sender,
        clock: Clock,
        settings: DispatchSettings,
        owner: UUID,
        batch_id: Callable[[], int],
        spread: Callable[[], float],
        on_ended: Callable[[Sequence[ClaimedBatch]], None],
        on_messages: Callable[[], None],
        traces: Traces = NO_TRACES,
    ) -> None:
        self._database = database
        self._batches = BatchRepository(database)
        self._outbox = OutboxRepository()
        self._credentials = credentials
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._owner = owner
        self._max_bulk_in_flight = settings.in_flight // 4 * 3
        """Bulk batches are leased up to here; the rest of `in_flight` is for small ones."""
        self._lanes = Lanes(settings.in_flight)
        self._decisions = DecisionMaker(Backoff(settings.retry_first, settings.retry_longest), spread)
        self._settler = Settler(
            database,
            owner,
            clock,
            batch_id,
            lease=settings.lease,
            settle_interval=settings.settle_interval,
            wake_at=self._wake_when_due,
            on_ended=on_ended,
            on_messages=on_messages,
            traces=traces,
        )
        self._resolver = Resolver(database, credentials)
        self._sending = Sending(
            sender,
            self._lanes,
            self._decisions,
            self._settler,
            clock,
            settle_interval=settings.settle_interval,
            suspend=self._suspend,
            traces=traces,
        )
        self._work = WorkLoop("the queue cannot be read", self._lease_batches, settings.poll)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_full = False
        """Whether there was no room for bulk batches at the last look."""
        credentials.on_inactive = self._forget_credential

    # --- the main loop ---

    async def run(self) -> None:
        """Work until `aclose()`. A database that is away is waited for."""
        leases = asyncio.create_task(self._keep_leases())
        try:
            await self._work.run()
        finally:
            leases.cancel()

    def wake(self) -> None:
        """Look at the queue now instead of at the next poll."""
        self._work.wake()

    @property
    def in_flight(self) -> int:
        """Pushes whose outcome is not written yet."""
        return self._settler.in_flight

    async def aclose(self, patience: float) -> None:
        """Lease nothing more, let what is in flight end, hand back the rest: within `patience` seconds."""
        try:
            async with asyncio.timeout(patience * 2 / 3):
                await self._work.stop()
                while self._tasks:  # they start others
                    await asyncio.wait(self._tasks)
                await self._sending.wait_until_idle()
        except TimeoutError:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._sending.withdraw_all()
        try:
            async with asyncio.timeout(patience / 3):
                await self._settler.aclose()
        except (RelayError, TimeoutError):
            _log.warning("the database is away: batches in flight come back when their lease ends")

    def credentials_changed(self) -> None:
        """Look credentials up again, and close the connections of those that are suspended or gone."""
        self._credentials.invalidate()
        if credential_ids := self._sender.credential_ids():
            self._start(self._forget_inactive(credential_ids), [])

    async def _forget_inactive(self, credential_ids: Sequence[int]) -> None:
        with contextlib.suppress(RelayError):  # then they are found when they are to be used
            for credential_id in await self._credentials.find_inactive(credential_ids):
                await self._sender.forget(CredentialId(credential_id))

    def _forget_credential(self, credential_id: int) -> None:
        self._start(self._sender.forget(CredentialId(credential_id)), [])

    def _suspend(self, credential: Credential, reason: str, sent_at: datetime) -> None:
        self._start(self._credentials.suspend(credential, reason, sent_at), [])

    def _wake_when_due(self, retries: Iterable[Retry]) -> None:
        """Look at the queue when the first of these is due, and at once if there was no room before."""
        if self._is_full:
            self.wake()
        due = min((retry.due_at for retry in retries), default=None)
        if due is not None:
            seconds = (due - self._clock.now()).total_seconds()
            if seconds < self._settings.poll:
                asyncio.get_running_loop().call_later(max(0.0, seconds) + 0.005, self.wake)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease / 3)
            try:
                await self._settler.keep_leases()
            except Exception as error:  # there is time for another try before they end
                _log.warning("the leases could not be extended", error=describe_error(error))

    # --- what the intake of this node hands over ---

    def lease(self, installations: int) -> Lease | None:
        """Return a lease for a new batch of that size. None without room, or if this node does not dispatch."""
        if not self._work.running or self._settler.in_flight + installations > self._settings.in_flight:
            return None
        return Lease(self._owner, self._clock.now() + timedelta(seconds=self._settings.lease))

    def take(
        self, batches: list[ClaimedBatch], groups: list[list[TargetGroup]], about: DispatchContext | None
    ) -> None:
        """Send batches that were stored under this node's lease; `groups` are their targets, `about` their apps.

        While the node shuts down they are left alone: they are handed back, or due when the lease ends.
        """
        if not self._work.running:
            return
        self._settler.open(batches)  # all are new: they were stored a moment ago
        self._start(self._dispatch(LeasedBatches(batches, groups, about)), batches)

    # --- lease, resolve, send ---

    async def _lease_batches(self) -> bool:
        """Lease what there is room for. Returns whether there was anything."""
        in_flight = self._settler.in_flight
        room = self._settings.in_flight - in_flight
        max_bulk = max(0, self._max_bulk_in_flight - in_flight) // self._settings.batch_size
        self._is_full = not max_bulk
        if room <= 0 or self._work.stopping:
            return False
        now = self._clock.now()
        lease_end = now + timedelta(seconds=self._settings.lease)
        leased = await self._batches.lease_batches(
            self._owner, now, lease_end, min(_MAX_SMALL_LEASED, room), max_bulk
        )
        if self._work.stopping:  # what was leased is handed back by `aclose`
            return False
        batches = self._settler.open(leased)
        if batches:
            self._start(self._end_and_dispatch(batches), batches)
        return bool(leased)

    def _start(self, work: Coroutine[Any, Any, None], batches: list[ClaimedBatch]) -> None:
        task = asyncio.create_task(self._guard(work, batches))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None], batches: list[ClaimedBatch]) -> None:
        """Run `work`. If it fails, its batches are let go: they come back when their lease ends."""
        try:
            await work
        except Exception as error:
            _log.error(
                "batches come back when their lease ends", batches=len(batches), error=describe_error(error)
            )
            self._settler.abandon(batches)

    async def _end_and_dispatch(self, batches: list[ClaimedBatch]) -> None:
        """Settle what was cancelled and what has expired; send the rest."""
        now = self._clock.now()
        ended = [batch for batch in batches if batch.cancelled or batch.expires_at <= now]
        if ended:
            try:
                app_ids = {batch.app_id for batch in ended}
                async with self._database.connection() as connection:
                    note_webhooks(ended, await self._outbox.find_apps_with_webhook(connection, app_ids))
            except Unavailable:
                self._put_back_unresolved(batches, now)
                return
        for batch in ended:
            outcome, reason = Outcome.EXPIRED, batch.last_reason or "Expired"
            if batch.cancelled:
                outcome, reason = Outcome.CANCELLED, "Cancelled"
            self._settler.add(Decisions([DeliveryOutcome(batch, outcome, 0, reason, batch.installations)]))
        rest = [batch for batch in batches if not (batch.cancelled or batch.expires_at <= now)]
        await self._dispatch(LeasedBatches(rest))

    async def _dispatch(self, leased: LeasedBatches) -> None:
        batches, now = leased.batches, self._clock.now()
        try:
            plan = await self._resolver.plan(leased)
            simulated = [simulate(job, self._decisions, now) for job in plan.simulated]
        except Unavailable:  # written when the database is back: sooner than when the leases end
            self._put_back_unresolved(batches, now)
            return
        except Exception as error:
            if len(batches) == 1:
                raise
            _log.error("batches are sent one by one", batches=len(batches), error=describe_error(error))
            for index, batch in enumerate(batches):  # perhaps one is of a newer node, which knows more
                await self._guard(self._dispatch(leased.pick(index)), [batch])
            return
        for decisions in simulated:
            self._settler.add(decisions)
        self._carry_out(plan, now)

    def _carry_out(self, plan: Plan, now: datetime) -> None:
        for batch, ids in plan.tokenless:
            outcome = DeliveryOutcome(batch, Outcome.UNREGISTERED, 0, "NoDeviceToken", ids)
            self._settler.add(Decisions([outcome]))
        for batch, credential_id, ids in plan.held:
            self._settler.add(Decisions(again=[self._decisions.hold(batch, credential_id, ids, now)]))
        for credential_id, jobs in plan.lanes.items():
            credential = jobs[0].credential
            assert credential is not None  # the plan puts a job into a lane for its credential
            admitted, waiting = self._lanes.admit(credential_id, jobs, now)
            if waiting:
                due = now + self._lanes.pause(credential_id, now)
                self._put_back(((job.batch, job.installations) for job in waiting), due)
            if admitted:
                self._sending.start(credential, admitted, now)

    def _put_back(self, parts: Iterable[tuple[ClaimedBatch, Sequence[int]]], due: datetime) -> None:
        """Put these installations of these batches back into the queue, without an attempt."""
        for batch, installations in parts:
            retry = Retry(batch, batch.attempt, due, None, batch.last_reason, installations)
            self._settler.add(Decisions(again=[retry]))

    def _put_back_unresolved(self, batches: Iterable[ClaimedBatch], now: datetime) -> None:
        """Put batches back about which the database could not be asked."""
        for batch in batches:
            # Whether the app has a webhook is not known; and if the push was cancelled meanwhile, that ends it.
            batch.has_webhook = True
            self._put_back([(batch, batch.installations)], now + _UNRESOLVED_PAUSE)
