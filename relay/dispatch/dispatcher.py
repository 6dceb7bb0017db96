"""The dispatcher: claim -> resolve -> plan -> send -> judge -> settle.

A claim takes many batches; each credential among them is a lane with a task of its own, so one that is slow or
refused holds up no other. What a lane has finished is settled while the rest of it is still under way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from relay.core.accounts import Environment
from relay.core.clock import Clock
from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.plan import ClaimedBatch, Plan, SendJob, TargetGroup, plan_sends
from relay.core.delivery.retry import Backoff
from relay.core.delivery.sending import Credential, SendBatch, Sender
from relay.core.errors import RelayError, Unavailable, describe_error
from relay.core.ids import CredentialId
from relay.dispatch import push_log as following
from relay.dispatch.credential_cache import CredentialCache
from relay.dispatch.decisions import DecisionMaker, Decisions
from relay.dispatch.lanes import Lanes
from relay.dispatch.settlement import Settler
from relay.dispatch.simulation import simulate
from relay.dispatch.work_loop import WorkLoop
from relay.settings import DispatchSettings
from relay.store.accounts.credentials import NO_CREDENTIAL, CredentialSnapshot
from relay.store.database import Database
from relay.store.push.batches import BatchRepository
from relay.store.push.records import DeliveryOutcome, DispatchContext, Lease, Retry
from relay.store.webhooks.outbox import OutboxRepository
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import APNS_SECONDS
from relay.telemetry.traces import NO_TRACES, Traces

_log = get_logger(__name__)
_CLAIM_SMALL = 500
_INTERNAL = "InternalError"
"""The reason of an outcome that a fault of ours prevented."""
_FEW = 100
_SMALL_SEND, _BULK_SEND = APNS_SECONDS.labels("small"), APNS_SECONDS.labels("bulk")
"""How long sends take: those of up to `_FEW` pushes, and larger ones."""
_PAUSE = timedelta(seconds=1)
"""How long what could not be resolved waits."""


class Dispatcher:
    """Works off the queue with this node's lease `owner`. `spread` gives random numbers from 0 to 1.

    `on_ended` is called with batches that have ended, when that is written; `on_told` after something was written that
    a publisher may want to know of.
    """

    def __init__(
        self,
        database: Database,
        book: CredentialCache,
        sender: Sender,
        clock: Clock,
        settings: DispatchSettings,
        owner: UUID,
        batch_id: Callable[[], int],
        spread: Callable[[], float],
        on_ended: Callable[[Sequence[ClaimedBatch]], None],
        on_told: Callable[[], None],
        traces: Traces = NO_TRACES,
    ) -> None:
        self._database = database
        self._batches = BatchRepository(database)
        self._outbox = OutboxRepository()
        self._book = book
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._owner = owner
        self._judge = DecisionMaker(Backoff(settings.retry_first, settings.retry_longest), spread)
        self._settler = Settler(
            database,
            owner,
            clock,
            batch_id,
            lease=settings.lease,
            wake_at=self._wake_at,
            on_ended=on_ended,
            on_told=on_told,
            traces=traces,
        )
        self._traces = traces
        self._turns = WorkLoop("the queue cannot be read", self._claim, settings.poll)
        self._known = CredentialSnapshot((), ())
        self._bulk_limit = settings.in_flight // 4 * 3
        """Bulk batches are claimed up to here; the rest of `in_flight` is for small ones."""
        self._lanes = Lanes(settings.in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
        self._full = False
        """Whether there was no room for the last claim."""

    # --- the main loop ---

    async def run(self) -> None:
        """Work until `aclose()`. A database that is away is waited for."""
        leases = asyncio.create_task(self._keep_leases())
        try:
            await self._turns.run()
        finally:
            leases.cancel()

    def wake(self) -> None:
        """There may be work."""
        self._turns.wake()

    @property
    def in_flight(self) -> int:
        """Pushes whose outcome is not written yet."""
        return self._settler.in_flight

    async def aclose(self, patience: float) -> None:
        """Claim nothing more, let what is in flight end, hand back the rest: within `patience` seconds."""
        try:
            async with asyncio.timeout(patience * 2 / 3):
                await self._turns.stop()
                while self._tasks:  # they start others
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(patience / 3):
                await self._settler.aclose()
        except (RelayError, TimeoutError):
            _log.warning("the database is away: batches in flight come back when their lease ends")

    def _wake_at(self, again: Iterable[Retry]) -> None:
        """Look at the queue again when the first of these is due, and at once if there was no room before."""
        if self._full:
            self.wake()
        due = min((one.due_at for one in again), default=None)
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
        """A lease for a new batch of so many installations, if there is room for it now and this node dispatches."""
        if not self._turns.running or self._settler.in_flight + installations > self._settings.in_flight:
            return None
        return Lease(self._owner, self._clock.now() + timedelta(seconds=self._settings.lease))

    def take(
        self, batches: list[ClaimedBatch], groups: list[list[TargetGroup]], about: DispatchContext | None
    ) -> None:
        """Send batches that were stored under this node's lease; `groups` are their copies, `about` their apps.

        At the end nobody would write what became of them: then they are handed back, or due when the lease ends.
        """
        if not self._turns.running:
            return
        self._settler.open(batches)  # all are new: they were stored a moment ago
        self._start(self._dispatch(batches, groups, about), batches)

    # --- claim and resolve ---

    async def _claim(self) -> bool:
        room = self._settings.in_flight - self._settler.in_flight
        bulk = max(0, self._bulk_limit - self._settler.in_flight) // self._settings.batch_size
        self._full = not bulk
        if room <= 0 or self._turns.stopping:
            return False
        now = self._clock.now()
        lease_end = now + timedelta(seconds=self._settings.lease)
        claimed = await self._batches.lease_batches(
            self._owner, now, lease_end, min(_CLAIM_SMALL, room), bulk
        )
        if self._turns.stopping:  # what was claimed is handed back by `aclose`
            return False
        batches = self._settler.open(claimed)
        if batches:
            self._start(self._dispatch(batches), batches)
        return bool(claimed)

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

    async def _dispatch(
        self,
        batches: list[ClaimedBatch],
        groups: list[list[TargetGroup]] | None = None,
        about: DispatchContext | None = None,
    ) -> None:
        now = self._clock.now()
        try:
            if groups is None:
                batches = await self._end_unsent(batches, now)
            made = await self._resolve(batches, groups, about)
            simulated = [simulate(leg, self._judge, now) for leg in made.simulated]
        except Unavailable:  # written when the database is back: sooner than when the leases end
            for batch in batches:
                # Who wants to know is not known now; and if it was cancelled meanwhile, that ends it.
                batch.has_webhook = True
            self._put_back(((batch, batch.installations) for batch in batches), now + _PAUSE)
            return
        except Exception as error:
            if len(batches) == 1:
                raise
            _log.error("batches are sent one by one", batches=len(batches), error=describe_error(error))
            for number, batch in enumerate(batches):  # perhaps one is of a newer node, which knows more
                own = groups and [groups[number]]
                await self._guard(self._dispatch([batch], own, about), [batch])
            return
        for batch, ids in made.tokenless:
            self._settler.add(
                Decisions([DeliveryOutcome(batch, Outcome.UNREGISTERED, 0, "NoDeviceToken", ids)])
            )
        for batch, credential_id, ids in made.held:
            self._settler.add(Decisions(again=[self._judge.hold(batch, credential_id, ids, now)]))
        for judged in simulated:
            self._settler.add(judged)
        for credential_id, legs in made.lanes.items():
            credential = legs[0].credential
            assert credential is not None  # plan() puts a leg into a lane for its credential
            admitted, waiting = self._lanes.admit(credential_id, legs, now)
            if waiting:
                due = now + self._lanes.pause(credential_id, now)
                self._put_back(((leg.batch, leg.installations) for leg in waiting), due)
            if admitted:
                self._start(self._send(credential, admitted), [leg.batch for leg in admitted])

    async def _end_unsent(self, batches: list[ClaimedBatch], now: datetime) -> list[ClaimedBatch]:
        """Settle what was cancelled and what has expired; returns what is to be sent. Raises Unavailable."""
        ended = [batch for batch in batches if batch.cancelled or batch.expires_at <= now]
        if not ended:
            return batches
        async with self._database.connection() as connection:
            app_ids = {batch.app_id for batch in ended}
            _note_told(ended, await self._outbox.find_apps_with_webhook(connection, app_ids))
        for batch in ended:
            outcome, reason = Outcome.EXPIRED, batch.last_reason or "Expired"
            if batch.cancelled:
                outcome, reason = Outcome.CANCELLED, "Cancelled"
            self._settler.add(Decisions([DeliveryOutcome(batch, outcome, 0, reason, batch.installations)]))
        return [batch for batch in batches if not (batch.cancelled or batch.expires_at <= now)]

    def _put_back(self, parts: Iterable[tuple[ClaimedBatch, Sequence[int]]], due: datetime) -> None:
        """Back to the queue, as if nothing had been tried: these installations of these batches."""
        for batch, installations in parts:
            again = Retry(batch, batch.attempt, due, None, batch.last_reason, installations)
            self._settler.add(Decisions(again=[again]))

    async def _resolve(
        self,
        batches: list[ClaimedBatch],
        groups: list[list[TargetGroup]] | None,
        about: DispatchContext | None,
    ) -> Plan:
        """The plan for these batches. What of their copies and apps is None is read."""
        if not batches:
            return Plan()
        await self._read_book()
        if groups is None or about is None:
            async with self._database.connection() as connection:
                groups = groups or await self._batches.resolve_targets(connection, batches)
                about = about or await self._batches.read_dispatch_context(
                    connection, list({one.app_id for one in batches})
                )
        if about.with_webhook:
            _note_told(batches, about.with_webhook)
        return plan_sends(batches, groups, self._find_credential, about.listed)

    async def _read_book(self) -> None:
        book = await self._book.read()
        if book is not self._known:
            # Suspended or removed, perhaps by another node:
            for credential_id in self._known.active - book.active:
                self._start(self._sender.forget(CredentialId(credential_id)), [])
            self._known = book

    def _find_credential(
        self, team_id: str, environment: Environment, bundle_id: str
    ) -> tuple[Credential | None, int]:
        credential = self._known.find(team_id, environment, bundle_id)
        if credential is None:
            return None, NO_CREDENTIAL
        if self._known.is_suspended(credential.credential_id):
            return None, credential.credential_id
        return credential, 0

    # --- send and judge ---

    async def _send(self, credential: Credential, legs: list[SendJob]) -> None:
        clock = asyncio.get_running_loop().time
        sent_at, began = self._clock.now(), clock()
        batches: list[SendBatch] = [leg.send for leg in legs]
        sending = asyncio.ensure_future(self._sender.send(credential, batches))
        taken: dict[int, set[int]] = {}
        spans = following.begun(self._traces, legs) if self._traces.on else []
        if following.is_followed():
            following.sent(legs)
        try:
            while not (await asyncio.wait({sending}, timeout=self._settings.settle_interval))[0]:
                await self._settle_parts(credential, legs, taken, sent_at)
            sending.result()
            (_SMALL_SEND if sum(map(len, legs)) <= _FEW else _BULK_SEND).observe(clock() - began)
            await self._settle_parts(credential, legs, taken, sent_at, everything=True)
        except asyncio.CancelledError:
            sending.cancel()
            await asyncio.wait({sending})
            await self._settle_parts(credential, legs, taken, sent_at)
            raise
        finally:
            if spans:
                following.ended(spans, legs)
            left = sum(map(len, legs)) - sum(map(len, taken.values()))
            self._lanes.leave(credential.credential_id, left)

    async def _settle_parts(
        self,
        credential: Credential,
        legs: list[SendJob],
        taken: dict[int, set[int]],
        sent_at: datetime,
        *,
        everything: bool = False,
    ) -> None:
        """Settle what has been answered since the last look; at the end, all that is left."""
        now = self._clock.now()
        suspend = ""
        for number, leg in enumerate(legs):
            part = _answered(leg, taken.setdefault(number, set()), everything)
            if part is not None:
                self._lanes.moved(credential.credential_id, now)
                self._lanes.leave(credential.credential_id, len(part))
                if following.is_followed():
                    following.answered(part)
                judged = self._judge_part(part, sent_at, now)
                self._settler.add(judged)
                suspend = suspend or judged.suspend
        if suspend:
            await self._book.suspend(credential, suspend, sent_at)
            with contextlib.suppress(RelayError):  # else it is noticed when the next batch is sent
                await self._read_book()

    def _judge_part(self, part: SendJob, sent_at: datetime, now: datetime) -> Decisions:
        """A fault of ours in judging ends that part only: as a retry it would be sent again and again."""
        try:
            return self._judge.judge(part, sent_at, now)
        except Exception as error:
            _log.error("answers could not be judged", error=describe_error(error))
            return Decisions([DeliveryOutcome(part.batch, Outcome.FAILED, 0, _INTERNAL, part.installations)])


def _note_told(batches: list[ClaimedBatch], told: set[str]) -> None:
    for batch in batches:
        batch.has_webhook = batch.app_id in told


def _answered(leg: SendJob, taken: set[int], everything: bool) -> SendJob | None:
    """The part of a leg that has been answered and not been taken yet; the whole leg where nothing was."""
    answers = leg.send.answers
    if not taken and (everything or None not in answers):
        taken.update(range(len(answers)))
        return leg
    indexes = [
        index
        for index, answer in enumerate(answers)
        if index not in taken and (everything or answer is not None)
    ]
    if not indexes:
        return None
    taken.update(indexes)
    return leg.pick(indexes)
