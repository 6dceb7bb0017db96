"""Group commit: requests that arrive together are routed by one query and stored by one statement.

Each caller gets its answer only after that commit. While one group commits, the next gathers; up to `groups` are on
their way at once, because most of a commit is waiting for the disk. Requests to many destinations take long, so they
wait in a line of their own, and one group of them at most is on its way: the others are for everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Protocol, TypeAlias

from relay.core.delivery.plan import ClaimedBatch, TargetGroup, group_targets
from relay.core.delivery.routing import Route
from relay.core.errors import Invalid, RelayError, Unavailable, describe_error
from relay.core.push.request import Accepted, PushRequest, SubmitResult, accept_push
from relay.dispatch import push_log as following
from relay.dispatch.backlog import Backlog
from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, ActorKind, AuditAction, AuditEntry
from relay.store.push.acceptance import AcceptanceRepository
from relay.store.push.batches import BatchRepository
from relay.store.push.records import MAX_SMALL_BATCH_SIZE, DispatchContext, Lease
from relay.store.webhooks.outbox import OutboxRepository
from relay.telemetry import counts
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import GROUP_SIZE
from relay.telemetry.traces import NO_TRACES, Traces

_log = get_logger(__name__)
_MAX_GROUP = 500
_MAX_HANDED_OVER = MAX_SMALL_BATCH_SIZE
"""A push to more installations than this goes through the queue; its copies are not kept in memory."""
_MAX_DESTINATIONS = 50_000
_LARGE = 2000
"""A request to more destinations than this waits in the other line."""
_MAX_WAITING = 10_000
_MAX_WAITING_DESTINATIONS = 250_000
"""What may wait for a commit, in each line. It is in memory only, and whoever is refused can ask again."""
_GROUP_SIZE = GROUP_SIZE.labels("intake")

_Waiting: TypeAlias = tuple[PushRequest, Callable[[SubmitResult], None]]


class _Line:
    """Requests that wait for a commit, first come, first served."""

    def __init__(self) -> None:
        self._requests: deque[_Waiting] = deque()
        self._destinations = 0

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def is_full(self) -> bool:
        return len(self._requests) >= _MAX_WAITING or self._destinations >= _MAX_WAITING_DESTINATIONS

    def append(self, request: PushRequest, done: Callable[[SubmitResult], None], destinations: int) -> None:
        self._requests.append((request, done))
        self._destinations += destinations

    def take(self) -> list[_Waiting]:
        """As many as go into one commit, from the front."""
        group: list[_Waiting] = []
        destinations = 0
        while self._requests and len(group) < _MAX_GROUP and destinations < _MAX_DESTINATIONS:
            group.append(self._requests.popleft())
            destinations += _destinations(group[-1][0])
        self._destinations -= destinations
        return group


class LocalDispatch(Protocol):
    """The dispatcher of this node, as far as the intake knows it."""

    def lease(self, installations: int) -> Lease | None:
        """A lease for a new batch of so many installations if there is room for it now."""

    def take(
        self, batches: list[ClaimedBatch], groups: list[list[TargetGroup]], about: DispatchContext | None
    ) -> None:
        """Send these batches, which were stored under such leases; `groups` are their copies.

        `about` are their apps, None if that could not be read.
        """


class Intake:
    """The way in. What fits is handed to `outlet`, the dispatcher of this node, without a detour by the queue.

    The hand-over saves a claim and a query. The batch is in the queue all the same, under the node's lease, so if
    the node dies another sends it. `on_queued` is called after something was stored that was not handed over.
    `groups`: commits at once, two at least.
    """

    def __init__(
        self,
        database: Database,
        outlet: LocalDispatch,
        batch_id: Callable[[], int],
        on_queued: Callable[[], None],
        backlog: Backlog,
        *,
        batch_size: int,
        groups: int = 2,
        traces: Traces = NO_TRACES,
    ) -> None:
        self._database = database
        self._acceptance = AcceptanceRepository(database)
        self._batches = BatchRepository(database)
        self._outbox = OutboxRepository()
        self._outlet = outlet
        self._batch_id = batch_id
        self._on_queued = on_queued
        self._backlog = backlog
        self._batch_size = batch_size
        self._groups = groups
        self._traces = traces
        self._usual, self._large = _Line(), _Line()
        self._committing: set[asyncio.Task[None]] = set()
        self._committing_large: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, request: PushRequest, done: Callable[[SubmitResult], None]) -> None:
        """Store one push with others that arrive now; `done` is told what became of it.

        Raises Unavailable if there is no room for it; then `done` is told nothing. It must not raise.
        """
        if self._closed:
            raise Unavailable("The relay is shutting down.")
        self._backlog.check(request.app_id, asyncio.get_running_loop().time())
        destinations = _destinations(request)
        line = self._large if destinations > _LARGE else self._usual
        if line.is_full:
            raise Unavailable("The relay is busy; nothing was stored.")
        line.append(request, done, destinations)
        self._start_groups()

    async def accept(self, request: PushRequest) -> Accepted | None:
        """The same for who can wait: raises Unavailable if it could not be stored, and Invalid without recipients."""
        future: asyncio.Future[Accepted | None] = asyncio.get_running_loop().create_future()
        self.submit(request, functools.partial(_tell, future))
        with self._traces.push(request.push_id):
            return await future

    async def aclose(self) -> None:
        """Accept nothing more; return when everything accepted is committed."""
        self._closed = True
        while self._committing:
            await asyncio.wait(self._committing)

    def _start_groups(self) -> None:
        if len(self._committing) >= self._groups:
            return
        if self._large and self._committing_large is None:
            self._committing_large = self._start_group(self._large)
        elif self._usual:
            self._start_group(self._usual)

    def _start_group(self, line: _Line) -> asyncio.Task[None]:
        # In a context of its own: what is done for many belongs to no request, nor what comes of it.
        task = asyncio.create_task(self._commit_group(line), context=Context())
        self._committing.add(task)
        task.add_done_callback(self._group_done)
        return task

    def _group_done(self, task: asyncio.Task[None]) -> None:
        self._committing.discard(task)
        if task is self._committing_large:
            self._committing_large = None
        self._start_groups()

    async def _commit_group(self, line: _Line) -> None:
        group = line.take()
        if not group:  # another that began in the same moment has them
            return
        try:
            requests = [request for request, _ in group]
            with self._traces.work("store pushes", (one.push_id for one in requests)):
                ends, batches = await self._commit(requests)
        except RelayError as error:
            for _, done in group:
                done(type(error)(error.detail))
        except BaseException as error:
            for _, done in group:
                done(Unavailable("The push could not be stored."))
            if not isinstance(error, Exception):
                raise
            _log.error("pushes could not be stored", pushes=len(group), error=describe_error(error))
        else:
            for (_, done), end in zip(group, ends, strict=True):
                done(end)
            await self._note(batches)

    async def _note(self, batches: Mapping[str, int]) -> None:
        """Nobody waits for this, and if it fails the next commit does it."""
        now = asyncio.get_running_loop().time()
        stale = self._backlog.stored(batches, now)
        if stale:
            with contextlib.suppress(RelayError):
                await self._backlog.count(self._database, stale, now)

    async def _commit(self, requests: list[PushRequest]) -> tuple[list[SubmitResult], Counter[str]]:
        """What becomes of each: None where the key was used before, and nothing is stored.

        Also how many batches were stored by app_id; a broadcast, which is cut later, counts as one.
        """
        about: asyncio.Task[DispatchContext | None] | None = None
        async with self._database.connection() as connection:
            found = await self._acceptance.route_requests(connection, requests)
            routes = [made for made in found if isinstance(made, Route)]
            routed = [
                request for request, made in zip(requests, found, strict=True) if isinstance(made, Route)
            ]
            answers = [_accepted(request, made) for request, made in zip(routed, routes, strict=True)]
            leases = self._leases(routes)
            if any(leases):
                # Read while they are being stored, so that they can leave at once.
                about = asyncio.create_task(self._about({request.app_id for request in routed}))
            stored = await self._insert(connection, routed, routes, leases, answers)
        if following.is_followed():
            following.stored(routed, routes, stored)
        handed_over = self._hand_over(routes, leases, stored, await about) if about else 0
        if handed_over < sum(map(len, filter(None, stored))) or any(request.everyone for request in routed):
            self._on_queued()
        batches: Counter[str] = Counter()
        for request, own in zip(routed, stored, strict=True):
            if own is not None:
                batches[request.app_id] += len(own) or 1
        _count(routed, routes, stored)
        ends = iter([None if own is None else answer for answer, own in zip(answers, stored, strict=True)])
        return [made if isinstance(made, Invalid) else next(ends) for made in found], batches

    async def _about(self, app_ids: set[str]) -> DispatchContext | None:
        """What dispatch must know of these apps, None if it has to find out itself. It has a connection of its own."""
        try:
            async with self._database.connection() as connection:
                return await self._batches.read_dispatch_context(connection, list(app_ids))
        except RelayError:
            return None

    async def _insert(
        self,
        connection: Connection,
        requests: list[PushRequest],
        routes: list[Route],
        leases: list[Lease | None],
        answers: list[Accepted],
    ) -> list[list[ClaimedBatch] | None]:
        """Store pushes. Those that reach nobody are completed with that, and who wants to know is told with it."""
        completed = {
            request.app_id
            for request, made in zip(requests, routes, strict=True)
            if not (made.targets or request.everyone)
        }
        told = await self._outbox.find_apps_with_webhook(connection, completed) if completed else set()
        by_hand = any(request.sent_by for request in requests)
        async with connection.transaction() if told or by_hand else contextlib.nullcontext():
            stored = await self._acceptance.store_pushes(
                connection, requests, routes, leases, self._batch_size, self._batch_id, answers
            )
            if told:
                ended = [
                    (request.app_id, request.push_id)
                    for request, own in zip(requests, stored, strict=True)
                    if request.app_id in told and own is not None and not (own or request.everyone)
                ]
                await self._outbox.store_completed_messages(connection, ended, requests[0].accepted_at)
            if by_hand:
                await _log_sent(connection, requests, stored)
        return stored

    def _leases(self, routes: list[Route]) -> list[Lease | None]:
        """For the pushes that are handed over, as far as there is room for all of them together."""
        leases: list[Lease | None] = []
        total = 0
        for made in routes:
            count = len(made.targets)
            lease = self._outlet.lease(total + count) if 0 < count <= _MAX_HANDED_OVER else None
            if lease is not None:
                total += count
            leases.append(lease)
        return leases

    def _hand_over(
        self,
        routes: list[Route],
        leases: list[Lease | None],
        stored: list[list[ClaimedBatch] | None],
        about: DispatchContext | None,
    ) -> int:
        """Returns the number of batches that the outlet took."""
        batches: list[ClaimedBatch] = []
        groups: list[list[TargetGroup]] = []
        for made, lease, own in zip(routes, leases, stored, strict=True):
            if lease is not None and own is not None:
                batches += own
                groups.extend(
                    group_targets(made.targets[number] for number in batch.installations) for batch in own
                )
        if batches:
            self._outlet.take(batches, groups, about)
        return len(batches)


def _tell(future: asyncio.Future[Accepted | None], outcome: SubmitResult) -> None:
    if future.done():  # the caller has gone away; its push is stored all the same
        return
    if isinstance(outcome, RelayError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _count(requests: list[PushRequest], routes: list[Route], stored: list[list[ClaimedBatch] | None]) -> None:
    """What a commit stored. Targets of broadcasts are counted when these are cut."""
    broadcasts = pushes = targets = 0
    for request, made, own in zip(requests, routes, stored, strict=True):
        if own is None:
            continue
        if request.everyone:
            broadcasts += 1
        else:
            pushes += 1
            targets += len(made.targets)
    _GROUP_SIZE.observe(len(requests))
    counts.accepted(pushes, "push")
    counts.targets(targets)
    if broadcasts:
        counts.accepted(broadcasts, "broadcast")


async def _log_sent(
    connection: Connection, requests: list[PushRequest], stored: list[list[ClaimedBatch] | None]
) -> None:
    """The audit entries of what was sent from the console. These are few: somebody pressed a button for each."""
    for request, own in zip(requests, stored, strict=True):
        if request.sent_by is not None and own is not None:
            detail = {"app_id": request.app_id, "everyone": str(request.everyone).lower()}
            entry = AuditEntry(
                AuditAction.PUSH_SENT_FROM_CONSOLE, str(request.push_id), request.sent_by, detail
            )
            await audit.write_entries(
                connection, Actor(ActorKind.PUBLISHER, request.token_id), request.accepted_at, entry
            )


def _accepted(request: PushRequest, made: Route) -> Accepted:
    return accept_push(
        request.push_id,
        None if request.everyone else len(made.targets),
        None if request.everyone else made.skipped,
        [*request.warnings, *made.warnings],
    )


def _destinations(request: PushRequest) -> int:
    return len(request.customers) + len(request.devices) + len(request.addresses)
