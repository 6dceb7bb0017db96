"""Who waits for a push to end is told when it has.

What this node settles is looked at when it is settled, all else now and then: by one query for everybody who waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass, field
from uuid import UUID

from relay.core.delivery.plan import ClaimedBatch
from relay.core.errors import describe_error
from relay.store.database import Database
from relay.store.push.reports import PushReportRepository
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_MOST = 10_000
"""So many pushes may be waited for; who comes then does not wait."""
_GATHER = 0.02
"""Seconds between two looks at what was settled: what is settled meanwhile is looked at together."""


@dataclass(slots=True)
class _Awaited:
    app_id: str
    waiters: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class CompletionWaiter:
    """Looks at what others settle every `poll` seconds, while somebody waits."""

    def __init__(self, database: Database, poll: float) -> None:
        self._pushes = PushReportRepository(database)
        self._poll = poll
        self._awaited: dict[UUID, _Awaited] = {}
        self._to_look_at: set[UUID] = set()
        self._wakeup = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def wait_for_end(self, app_id: str, push_id: UUID, seconds: float) -> bool:
        """Whether that push ends within so many seconds. Returns as soon as it has, or at the end of this node."""
        if self._closed or len(self._awaited) >= _MOST:
            return False
        one = self._awaited.setdefault(push_id, _Awaited(app_id))
        one.waiters += 1
        self._look_at(push_id)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), context=Context())
        try:
            async with asyncio.timeout(seconds):
                await one.ended.wait()
        except TimeoutError:
            return False
        finally:
            one.waiters -= 1
            if not one.waiters:
                del self._awaited[push_id]
        return not self._closed

    def settled(self, batches: Iterable[ClaimedBatch]) -> None:
        """These batches were settled by this node: of some pushes perhaps the last ones."""
        if self._awaited:
            for batch in batches:
                if batch.push_id in self._awaited:
                    self._look_at(batch.push_id)

    def close(self) -> None:
        """Nobody waits any longer."""
        self._closed = True
        for one in self._awaited.values():
            one.ended.set()
        if self._looking is not None:
            self._looking.cancel()

    def _look_at(self, push_id: UUID) -> None:
        self._to_look_at.add(push_id)
        self._wakeup.set()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        next_round = loop.time() + self._poll
        try:
            while self._awaited:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(next_round):
                        await self._wakeup.wait()
                self._wakeup.clear()
                wanted, self._to_look_at = self._to_look_at & self._awaited.keys(), set()
                if loop.time() >= next_round:
                    wanted, next_round = set(self._awaited), loop.time() + self._poll
                await self._tell({push_id: self._awaited[push_id].app_id for push_id in wanted})
                await asyncio.sleep(_GATHER)
        finally:
            self._looking = None

    async def _tell(self, wanted: dict[UUID, str]) -> None:
        if not wanted:
            return
        try:
            ended = await self._pushes.find_ended_pushes(wanted)
        except Exception as error:  # they are looked at again
            _log.debug("it is not known which pushes have ended", error=describe_error(error))
            return
        for push_id in ended & self._awaited.keys():
            self._awaited[push_id].ended.set()
