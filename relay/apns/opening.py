"""The order and the pace in which connections are opened.

Apple's engineers ask senders for many teams to space new connections, to use fresh DNS answers, and to spread over the
addresses (developer forum, thread 778909). So attempts start at `per_second` at most. Pools that hold single pushes go
first. A handshake costs half a millisecond of CPU: `MAX_FRESH` of them at once keep the event loop free for others. One
that hangs stops counting after `SLOW_SECONDS`, so that it delays no other team.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from relay.apns.connection_cache import ConnectionCache
from relay.telemetry.metrics import APNS_OPENING_SECONDS

MAX_FRESH: Final = 48
"""Attempts of less than `SLOW_SECONDS` at once."""
MAX_ATTEMPTS: Final = 1_000
"""Attempts at once."""
SLOW_SECONDS: Final = 1.0
"""Seconds after which an attempt counts as slow."""
_BURST_SECONDS: Final = 0.1
"""Seconds of pace that may be caught up on after a pause."""


class Opens(Protocol):
    """A pool that wants a connection."""

    async def open_connection(self) -> None:
        """Open a connection and use it. Raises nothing."""


class OpeningQueue:
    """Pools that wait for a connection. `per_second` 0 sets no pace.

    A pool asks for one connection at a time.
    """

    def __init__(self, cache: ConnectionCache, per_second: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._cache = cache
        self._interval = 1 / per_second if per_second else 0.0
        self._next_at = 0.0
        self._urgent: deque[Opens] = deque()
        self._others: deque[Opens] = deque()
        self._wanted_since: dict[Opens, float] = {}
        self._hurried: set[Opens] = set()
        self._attempts: dict[asyncio.Task[None], float] = {}
        """When each began; the oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        cache.on_room = self._start_attempts

    @property
    def waiting(self) -> int:
        """Pools whose attempt has not begun."""
        return len(self._wanted_since)

    @property
    def under_way(self) -> int:
        """Attempts that have begun and not ended."""
        return len(self._attempts)

    def seconds_until_turn(self) -> float:
        """Estimate the wait of a pool that asks now and is not urgent: what the pace alone makes of the queue."""
        return self.waiting * self._interval

    def request_connection(self, pool: Opens, *, urgent: bool) -> None:
        """Have `pool.open_connection()` called when it is its turn. `urgent`: before all that are not."""
        if self._closed:
            return
        self._wanted_since[pool] = self._loop.time()
        if urgent:
            self._hurried.add(pool)
        (self._urgent if urgent else self._others).append(pool)
        self._start_attempts()

    def hurry(self, pool: Opens) -> None:
        """Move a pool that waits in the queue before all that are not urgent."""
        if pool in self._wanted_since and pool not in self._hurried:
            self._hurried.add(pool)
            self._urgent.append(pool)  # it stays in the other queue too, where its turn is skipped

    def forget(self, pool: Opens) -> None:
        """Take a pool out of the queue."""
        self._wanted_since.pop(pool, None)
        self._hurried.discard(pool)

    async def aclose(self) -> None:
        """Cancel all attempts."""
        self._closed = True
        self._wanted_since.clear()
        if self._timer is not None:
            self._timer.cancel()
        attempts = list(self._attempts)
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)

    def _start_attempts(self) -> None:
        """Start attempts until the queue is empty or something says wait; then be called again in time."""
        while self._wanted_since and not self._closed:
            now = self._loop.time()
            delay = self._delay(now)
            if delay:
                self._call_later(delay)
                return
            if not self._cache.reserve(len(self._wanted_since)):
                return  # `on_room` calls again
            pool, wanted_since = self._take()
            if self._interval:
                self._next_at = max(self._next_at, now - _BURST_SECONDS) + self._interval
            attempt = self._loop.create_task(self._attempt(pool, wanted_since))
            self._attempts[attempt] = now

    def _delay(self, now: float) -> float:
        """Return the seconds to wait before the next attempt; 0 if it may start. A bound that waits for an attempt to
        end counts as `SLOW_SECONDS`."""
        if self._interval and self._next_at > now:
            return self._next_at - now
        if len(self._attempts) >= MAX_ATTEMPTS:
            return SLOW_SECONDS
        if len(self._attempts) >= MAX_FRESH:
            begun = list(self._attempts.values())[-MAX_FRESH]
            if begun > now - SLOW_SECONDS:
                return begun + SLOW_SECONDS - now
        return 0.0

    def _take(self) -> tuple[Opens, float]:
        """Take the pool whose turn it is. There is one."""
        while True:
            pool = (self._urgent or self._others).popleft()
            wanted_since = self._wanted_since.pop(pool, None)
            if wanted_since is not None:
                self._hurried.discard(pool)
                return pool, wanted_since

    def _call_later(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._start_attempts)

    async def _attempt(self, pool: Opens, wanted_since: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # this is one
        try:
            await pool.open_connection()
            APNS_OPENING_SECONDS.observe(self._loop.time() - wanted_since)
        finally:
            del self._attempts[task]
            self._cache.release()
