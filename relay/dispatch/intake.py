"""Group commit: requests that arrive together are routed by one query and stored by one statement.

Each caller gets its answer only after that commit. While one group commits, the next gathers; up to `groups` are on
their way at once, because most of a commit is waiting for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Protocol

from relay.core.accepting import Accepted, PushRequest
from relay.core.routing import ClaimedBatch, Group, Route, group, route
from relay.dispatch.backlog import Backlog
from relay.errors import RelayError, Unavailable
from relay.store import pushes
from relay.store.database import Database

_MAX_GROUP = 500
_MAX_HANDED_OVER = pushes.BULK
"""A push to more installations than this goes through the queue; its copies are not kept in memory."""
_MAX_DESTINATIONS = 50_000
_MAX_WAITING = 10_000
_MAX_WAITING_DESTINATIONS = 500_000
"""What may wait for a commit. It is in memory only, and whoever is refused can ask again."""


class Outlet(Protocol):
    """The dispatcher of this node, as far as the intake knows it."""

    def lease(self, installations: int) -> pushes.Lease | None:
        """A lease for a new batch of so many installations if there is room for it now."""

    def take(self, batches: list[ClaimedBatch], groups: list[list[Group]]) -> None:
        """Send these batches, which were stored under such leases; `groups` are their copies."""


class Intake:
    """The way in. What fits is handed to `outlet`, the dispatcher of this node, without a detour by the queue.

    The hand-over saves a claim and a query. The batch is in the queue all the same, under the node's lease, so if
    the node dies another sends it. `on_queued` is called after something was stored that was not handed over.
    """

    def __init__(
        self,
        database: Database,
        outlet: Outlet,
        batch_id: Callable[[], int],
        on_queued: Callable[[], None],
        backlog: Backlog,
        *,
        batch_size: int,
        groups: int = 2,
    ) -> None:
        self._database = database
        self._outlet = outlet
        self._batch_id = batch_id
        self._on_queued = on_queued
        self._backlog = backlog
        self._batch_size = batch_size
        self._groups = groups
        self._waiting: deque[tuple[PushRequest, asyncio.Future[Accepted]]] = deque()
        self._waiting_destinations = 0
        self._committing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def accept(self, request: PushRequest) -> Accepted:
        """Store one push with others that arrive now. Raises Unavailable if it could not be stored."""
        if self._closed:
            raise Unavailable("The relay is shutting down.")
        loop = asyncio.get_running_loop()
        self._backlog.check(request.app_id, loop.time())
        if len(self._waiting) >= _MAX_WAITING or self._waiting_destinations >= _MAX_WAITING_DESTINATIONS:
            raise Unavailable("The relay is busy; nothing was stored.")
        future: asyncio.Future[Accepted] = loop.create_future()
        self._waiting.append((request, future))
        self._waiting_destinations += _destinations(request)
        self._start_groups()
        return await future

    async def aclose(self) -> None:
        """Accept nothing more; return when everything accepted is committed."""
        self._closed = True
        while self._committing:
            await asyncio.wait(self._committing)

    def _start_groups(self) -> None:
        if self._waiting and len(self._committing) < self._groups:
            task = asyncio.create_task(self._commit_group())
            self._committing.add(task)
            task.add_done_callback(self._group_done)

    def _group_done(self, task: asyncio.Task[None]) -> None:
        self._committing.discard(task)
        self._start_groups()

    async def _commit_group(self) -> None:
        group = self._take()
        try:
            answers = await self._commit([request for request, _ in group])
        except RelayError as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(type(error)(error.detail))
        except BaseException as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(Unavailable("The push could not be stored."))
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), accepted in zip(group, answers, strict=True):
                if not future.done():  # the caller may have gone away; its push is stored all the same
                    future.set_result(accepted)
            await self._note(request.app_id for request, _ in group)

    def _take(self) -> list[tuple[PushRequest, asyncio.Future[Accepted]]]:
        group: list[tuple[PushRequest, asyncio.Future[Accepted]]] = []
        destinations = 0
        while self._waiting and len(group) < _MAX_GROUP and destinations < _MAX_DESTINATIONS:
            group.append(self._waiting.popleft())
            destinations += _destinations(group[-1][0])
        self._waiting_destinations -= destinations
        return group

    async def _note(self, app_ids: Iterable[str]) -> None:
        """Nobody waits for this, and if it fails the next commit does it."""
        now = asyncio.get_running_loop().time()
        stale = self._backlog.stored(Counter(app_ids), now)
        if stale:
            with contextlib.suppress(RelayError):
                await self._backlog.count(self._database, stale, now)

    async def _commit(self, requests: list[PushRequest]) -> list[Accepted]:
        async with self._database.connection() as connection:
            reached = await pushes.reach(connection, requests)
            routes = [
                route(request.customers, request.devices, copies, listed_only=request.debug)
                for request, copies in zip(requests, reached, strict=True)
            ]
            leases = self._leases(routes)
            batches = await pushes.insert(
                connection, requests, routes, leases, self._batch_size, self._batch_id
            )
        handed_over = self._hand_over(routes, leases, batches)
        if handed_over < sum(map(len, batches)) or any(request.everyone for request in requests):
            self._on_queued()
        return [
            Accepted(
                request.push_id,
                None if request.everyone else len(made.copies),
                None if request.everyone else made.skipped,
                [*request.warnings, *made.warnings],
            )
            for request, made in zip(requests, routes, strict=True)
        ]

    def _leases(self, routes: list[Route]) -> list[pushes.Lease | None]:
        """For the pushes that are handed over, as far as there is room for all of them together."""
        leases: list[pushes.Lease | None] = []
        total = 0
        for made in routes:
            count = len(made.copies)
            lease = self._outlet.lease(total + count) if 0 < count <= _MAX_HANDED_OVER else None
            if lease is not None:
                total += count
            leases.append(lease)
        return leases

    def _hand_over(
        self, routes: list[Route], leases: list[pushes.Lease | None], stored: list[list[ClaimedBatch]]
    ) -> int:
        """Returns the number of batches that the outlet took."""
        batches: list[ClaimedBatch] = []
        groups: list[list[Group]] = []
        for made, lease, own in zip(routes, leases, stored, strict=True):
            if lease is not None:
                batches += own
                groups.extend(group(made.copies[number] for number in batch.installations) for batch in own)
        if batches:
            self._outlet.take(batches, groups)
        return len(batches)


def _destinations(request: PushRequest) -> int:
    return len(request.customers) + len(request.devices)
