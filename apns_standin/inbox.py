"""What the simulated devices received, or channels: bounded, in memory, gone at the end.

Two views of the same notifications: by device token, and one feed of all. `index` counts from 1 in the view
it is read from; readers pass the last one they saw as `after`, and may wait for the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice

import msgspec

from .registry import Environment


class Notification(msgspec.Struct, frozen=True, gc=False):
    """One accepted notification. `time_ms` is epoch milliseconds; `body` the payload's bytes as they came.

    `index` counts the device token's notifications, `feed_index` everybody's. `key_id` is None and `team_id`
    the certificate's when the sender used a client certificate. For a channel `device_token` is its identifier.
    """

    index: int
    feed_index: int
    device_token: str
    environment: Environment
    time_ms: int
    apns_id: str
    headers: dict[str, str]
    body: bytes
    team_id: str
    key_id: str | None


class Inbox:
    """The last `per_token` notifications of each device token, and no more than `total` altogether."""

    def __init__(self, per_token: int = 1000, total: int = 50_000) -> None:
        self._per_token = per_token
        self._total = total
        self._feed: deque[Notification] = deque()
        self._feed_count = 0
        self._by_token: dict[str, deque[Notification]] = {}
        self._counts: dict[str, int] = {}
        self._waiting: dict[str | None, set[asyncio.Future[None]]] = {}
        self._closed = False

    def next_index(self, device_token: str) -> tuple[int, int]:
        """The index and the feed index the next notification of this device token must have."""
        return self._counts.get(device_token, 0) + 1, self._feed_count + 1

    def add(self, notification: Notification) -> None:
        """Keep a notification, dropping the oldest where a limit is reached, and wake who waits for it."""
        token = notification.device_token
        self._counts[token] = notification.index
        self._feed_count = notification.feed_index
        kept = self._by_token.get(token)
        if kept is None:
            kept = self._by_token[token] = deque(maxlen=self._per_token)
        kept.append(notification)
        self._feed.append(notification)
        if len(self._feed) > self._total:
            self._forget(self._feed.popleft())
        if self._waiting:
            self._wake(token)
            self._wake(None)

    def count(self, device_token: str) -> int:
        """How many notifications the device token has received, kept or not."""
        return self._counts.get(device_token, 0)

    def of_token(self, device_token: str, after: int = 0) -> list[Notification]:
        """What is kept of a device token with `index` greater than `after`, oldest first."""
        return _newer(self._by_token.get(device_token, deque()), after, self._counts.get(device_token, 0))

    def feed(self, after: int = 0) -> list[Notification]:
        """What is kept of all with `feed_index` greater than `after`, oldest first."""
        return _newer(self._feed, after, self._feed_count)

    async def wait(self, device_token: str | None, after: int, seconds: float) -> None:
        """Return as soon as there is a notification after `after` (None: in the feed), or when time is up."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                # Waking is no promise: `after` may lie further ahead.
                while not self._closed and self._last_index(device_token) <= after:
                    await self._next(device_token)
        except TimeoutError:
            pass

    def close(self) -> None:
        """Let everyone who waits go."""
        self._closed = True
        for device_token in list(self._waiting):
            self._wake(device_token)

    def _last_index(self, device_token: str | None) -> int:
        return self._feed_count if device_token is None else self.count(device_token)

    async def _next(self, device_token: str | None) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(device_token, set())
        waiting.add(future)
        try:
            await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(device_token) is waiting:
                del self._waiting[device_token]

    def _wake(self, device_token: str | None) -> None:
        for future in self._waiting.pop(device_token, ()):
            if not future.done():
                future.set_result(None)

    def _forget(self, notification: Notification) -> None:
        # The oldest of the feed is also the oldest of its token, or was dropped there before.
        kept = self._by_token[notification.device_token]
        if kept and kept[0] is notification:
            kept.popleft()
        if not kept:
            del self._by_token[notification.device_token]


def _newer(kept: deque[Notification], after: int, last: int) -> list[Notification]:
    # Indices are consecutive, so the number of newer ones tells where they start.
    wanted = min(max(last - after, 0), len(kept))
    return list(islice(kept, len(kept) - wanted, None))
