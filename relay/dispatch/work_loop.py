"""A loop that takes turns while there is work, and else waits to be woken or for `poll` seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from relay.core.errors import describe_error
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)


class WorkLoop:
    """`turn` does a piece of work and says whether there was any. `what` names it in the log.

    A turn that fails, for whatever reason, is followed by a pause of `poll` seconds: the next one may go well.
    """

    def __init__(self, what: str, turn: Callable[[], Awaitable[bool]], poll: float) -> None:
        self._what = what
        self._turn = turn
        self._poll = poll
        self._wakeup = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self.stopping = False

    @property
    def running(self) -> bool:
        """Whether turns are being taken, and more will be."""
        return not self.stopping and not self._ended.is_set()

    def wake(self) -> None:
        """There may be work."""
        self._wakeup.set()

    async def run(self) -> None:
        """Take turns until `stop()`, or until cancelled."""
        self._ended.clear()
        try:
            while not self.stopping:
                self._wakeup.clear()
                try:
                    found = await self._turn()
                except Exception as error:
                    _log.warning(self._what, error=describe_error(error))
                    await asyncio.sleep(self._poll)
                    continue
                if not found:
                    await self._wait()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Take no more turns; returns when the last one has ended."""
        self.stopping = True
        self._wakeup.set()
        await self._ended.wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._wakeup.wait()
        except TimeoutError:
            pass
