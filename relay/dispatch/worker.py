"""The dispatcher: claim -> resolve -> plan -> send -> judge -> settle.

A claim takes many batches; each credential among them is a lane with a task of its own, so one that is slow or
refused holds up no other. What a lane has finished is settled while the rest of it is still under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from relay.config import Dispatch
from relay.core.clock import Clock
from relay.core.push_types import PUSH_TYPES
from relay.core.retry import Backoff
from relay.core.routing import ClaimedBatch, Group, Leg, Plan, plan
from relay.core.sending import Credential, Environment, SendBatch, Sender
from relay.dispatch.judging import Judge, Judged
from relay.dispatch.lanes import Lanes
from relay.dispatch.settling import Settler
from relay.dispatch.simulation import simulate
from relay.dispatch.turns import Turns
from relay.errors import RelayError, Unavailable, describe
from relay.store import queue
from relay.store.credentials import NO_CREDENTIAL, CredentialBook, Credentials
from relay.store.database import Database
from relay.store.pushes import Lease
from relay.store.queue import Again, Outcome

_log = logging.getLogger(__name__)
_CLAIM_SMALL = 500
_INTERNAL = "InternalError"
"""The reason of an outcome that a fault of ours prevented."""
_BOOK_AGE = timedelta(seconds=1)
_HOLD_PAUSE = timedelta(seconds=1)


class Dispatcher:
    """Works off the queue with this node's lease `owner`. `spread` gives random numbers from 0 to 1."""

    def __init__(
        self,
        database: Database,
        credentials: Credentials,
        sender: Sender,
        clock: Clock,
        settings: Dispatch,
        owner: UUID,
        batch_id: Callable[[], int],
        spread: Callable[[], float],
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._owner = owner
        self._judge = Judge(Backoff(settings.retry_first, settings.retry_longest), spread)
        self._settler = Settler(database, owner, clock, batch_id, lease=settings.lease, wake_at=self._wake_at)
        self._turns = Turns("the queue cannot be read", self._claim, settings.poll)
        self._book = CredentialBook((), ())
        self._book_read: datetime | None = None
        self._bulk_limit = settings.in_flight // 4 * 3
        """Bulk batches are claimed up to here; the rest of `in_flight` is for small ones."""
        self._lanes = Lanes(self._bulk_limit)
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

    def _wake_at(self, again: Iterable[Again]) -> None:
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
                _log.warning("the leases could not be extended: %s", describe(error))

    # --- what the intake of this node hands over ---

    def lease(self, installations: int) -> Lease | None:
        """A lease for a new batch of so many installations, if there is room for it now and this node dispatches."""
        if not self._turns.running or self._settler.in_flight + installations > self._settings.in_flight:
            return None
        return Lease(self._owner, self._clock.now() + timedelta(seconds=self._settings.lease))

    def take(self, batches: list[ClaimedBatch], groups: list[list[Group]]) -> None:
        """Send batches that were stored under this node's lease; `groups` are their copies."""
        self._settler.open(batches)  # all are new: they were stored a moment ago
        self._start(self._dispatch(batches, groups), batches)

    # --- claim and resolve ---

    async def _claim(self) -> bool:
        room = self._settings.in_flight - self._settler.in_flight
        bulk = max(0, self._bulk_limit - self._settler.in_flight) // self._settings.batch_size
        self._full = not bulk
        if room <= 0 or self._turns.stopping:
            return False
        now = self._clock.now()
        async with self._database.connection() as connection:
            lease_end = now + timedelta(seconds=self._settings.lease)
            claimed = await queue.claim(
                connection, self._owner, now, lease_end, min(_CLAIM_SMALL, room), bulk
            )
        if self._turns.stopping:  # what was claimed is handed back by `aclose`
            return False
        batches = self._settler.open(claimed)
        if batches:
            self._start(self._dispatch(batches, None), batches)
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
            _log.error("%d batches come back when their lease ends: %s", len(batches), describe(error))
            self._settler.abandon(batches)

    async def _dispatch(self, batches: list[ClaimedBatch], groups: list[list[Group]] | None) -> None:
        now = self._clock.now()
        if groups is None and any(batch.expires_at <= now for batch in batches):
            self._settle_expired([batch for batch in batches if batch.expires_at <= now])
            batches = [batch for batch in batches if batch.expires_at > now]
        try:
            made = await self._resolve(batches, groups)
        except Unavailable:  # written when the database is back: sooner than when the leases end
            self._put_back(((batch, batch.installations) for batch in batches), now)
            return
        for batch, ids in made.tokenless:
            self._settler.add(Judged([Outcome(batch, "unregistered", 0, "NoDeviceToken", ids)]))
        for batch, credential_id, ids in made.held:
            self._settler.add(Judged(again=[self._judge.hold(batch, credential_id, ids, now)]))
        for leg in made.simulated:
            self._settler.add(simulate(leg, self._judge, now))
        for credential_id, legs in made.lanes.items():
            credential = legs[0].credential
            assert credential is not None  # plan() puts a leg into a lane for its credential
            admitted, waiting = self._lanes.admit(credential_id, legs, now)
            self._put_back(((leg.batch, leg.installations) for leg in waiting), now)
            if admitted:
                self._start(self._send(credential, admitted), [leg.batch for leg in admitted])

    def _settle_expired(self, batches: list[ClaimedBatch]) -> None:
        for batch in batches:
            self._settler.add(
                Judged([Outcome(batch, "expired", 0, batch.last_reason or "Expired", batch.installations)])
            )

    def _put_back(self, parts: Iterable[tuple[ClaimedBatch, Sequence[int]]], now: datetime) -> None:
        """Back to the queue, as if nothing had been tried: these installations of these batches."""
        for batch, installations in parts:
            again = Again(batch, batch.attempt, now + _HOLD_PAUSE, None, batch.last_reason, installations)
            self._settler.add(Judged(again=[again]))

    async def _resolve(self, batches: list[ClaimedBatch], groups: list[list[Group]] | None) -> Plan:
        if not batches:
            return Plan()
        await self._read_book()
        async with self._database.connection() as connection:
            if groups is None:
                kinds = [PUSH_TYPES[batch.headers.push_type].token_kind for batch in batches]
                groups = await queue.resolve(connection, batches, kinds)
            listed = await queue.test_devices(connection, list({batch.app_id for batch in batches}))
        return plan(batches, groups, self._find_credential, listed)

    async def _read_book(self) -> None:
        now = self._clock.now()
        if self._book_read is None or now - self._book_read > _BOOK_AGE:
            book = await self._credentials.load()
            # Suspended or removed, perhaps by another node:
            for credential_id in self._book.active - book.active:
                self._start(self._sender.forget(credential_id), [])
            self._book, self._book_read = book, now

    def _find_credential(
        self, team_id: str, environment: Environment, bundle_id: str
    ) -> tuple[Credential | None, int]:
        credential = self._book.find(team_id, environment, bundle_id)
        if credential is None:
            return None, NO_CREDENTIAL
        if self._book.is_suspended(credential.credential_id):
            return None, credential.credential_id
        return credential, 0

    # --- send and judge ---

    async def _send(self, credential: Credential, legs: list[Leg]) -> None:
        sent_at = self._clock.now()
        batches: list[SendBatch] = [leg.send for leg in legs]
        sending = asyncio.ensure_future(self._sender.send(credential, batches))
        taken: dict[int, set[int]] = {}
        try:
            while not (await asyncio.wait({sending}, timeout=self._settings.settle_interval))[0]:
                await self._settle_parts(credential, legs, taken, sent_at)
            sending.result()
            await self._settle_parts(credential, legs, taken, sent_at, everything=True)
        except asyncio.CancelledError:
            sending.cancel()
            await asyncio.wait({sending})
            await self._settle_parts(credential, legs, taken, sent_at)
            raise
        finally:
            self._lanes.leave(credential.credential_id, sum(map(len, legs)))

    async def _settle_parts(
        self,
        credential: Credential,
        legs: list[Leg],
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
                judged = self._judge_part(part, sent_at, now)
                self._settler.add(judged)
                self._lanes.moved(credential.credential_id, now)
                suspend = suspend or judged.suspend
        if suspend:
            await self._suspend(credential, suspend, now)

    def _judge_part(self, part: Leg, sent_at: datetime, now: datetime) -> Judged:
        """A fault of ours in judging ends that part only: as a retry it would be sent again and again."""
        try:
            return self._judge.judge(part, sent_at, now)
        except Exception as error:
            _log.error("answers could not be judged: %s", describe(error))
            return Judged([Outcome(part.batch, "failed", 0, _INTERNAL, part.installations)])

    async def _suspend(self, credential: Credential, reason: str, now: datetime) -> None:
        _log.error(
            "credential %d of team %s is suspended: APNs says %s. Its pushes are kept; replace or resume it.",
            credential.credential_id,
            credential.team_id,
            reason,
        )
        self._book_read = None
        try:
            await self._credentials.suspend(credential.credential_id, reason, now, version=credential.version)
            await self._read_book()
        except RelayError:
            _log.warning("the suspension could not be stored; the next answer brings it again")


def _answered(leg: Leg, taken: set[int], everything: bool) -> Leg | None:
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
