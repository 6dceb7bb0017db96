"""Group commit: requests that arrive together are routed by one query and stored by one statement.

Each caller gets its answer only after that commit. While one group commits, the next gathers; up to `groups` are on
their way at once, because most of a commit is waiting for the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from relay.core.accepting import Accepted, PushRequest
from relay.core.routing import ClaimedBatch, Group, Route, group, route
from relay.errors import RelayError, Unavailable
from relay.store import pushes
from relay.store.database import Database

_MAX_GROUP = 500
_MAX_HANDED_OVER = pushes.BULK
"""A push to more installations than this goes through the queue; its copies are not kept in memory."""
_MAX_DESTINATIONS = 50_000


class Outlet(Protocol):
    """The dispatcher of this node, as far as the intake knows it."""

    def lease(self, installations: int) -> pushes.Lease | None:
        """A lease for a new batch of so many installations if there is room for it now."""

    def take(self, batches: list[ClaimedBatch], groups: list[list[Group]]) -> None:
        """Send these batches, which were stored under such leases; `groups` are their copies."""

    def wake(self) -> None:
        """There is something new in the queue."""


class Intake:
    """The way in. What fits is handed to `outlet`, the dispatcher of this node, without a detour by the queue.

    The hand-over saves a claim and a query. The batch is in the queue all the same, under the node's lease, so if
    the node dies another sends it. `on_broadcast` is called after a push to everyone was stored.
    """

    def __init__(
        self,
        database: Database,
        outlet: Outlet,
        batch_id: Callable[[], int],
        on_broadcast: Callable[[], None],
        *,
        batch_size: int,
        groups: int = 2,
    ) -> None:
        self._database = database
        self._outlet = outlet
        self._batch_id = batch_id
        self._on_broadcast = on_broadcast
        self._batch_size = batch_size
        self._groups = groups
        self._waiting: deque[tuple[PushRequest, asyncio.Future[Accepted]]] = deque()
        self._committing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def accept(self, request: PushRequest) -> Accepted:
        """Store one push with others that arrive now. Raises Unavailable if it could not be stored."""
        if self._closed:
            raise Unavailable("The relay is shutting down.")
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
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

    def _take(self) -> list[tuple[PushRequest, asyncio.Future[Accepted]]]:
        group: list[tuple[PushRequest, asyncio.Future[Accepted]]] = []
        destinations = 0
        while self._waiting and len(group) < _MAX_GROUP and destinations < _MAX_DESTINATIONS:
            group.append(self._waiting.popleft())
            destinations += len(group[-1][0].customers) + len(group[-1][0].devices)
        return group

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
        self._hand_over(routes, leases, batches)
        if any(request.everyone for request in requests):
            self._on_broadcast()
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
    ) -> None:
        batches: list[ClaimedBatch] = []
        groups: list[list[Group]] = []
        for made, lease, own in zip(routes, leases, stored, strict=True):
            if lease is not None:
                batches += own
                groups.extend(group(made.copies[number] for number in batch.installations) for batch in own)
        if batches:
            self._outlet.take(batches, groups)
        if len(batches) < sum(map(len, stored)):
            self._outlet.wake()
