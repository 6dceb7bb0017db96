"""Notifications that simulated devices or channels received: bounded, in memory, lost at the end.

There are two views of them: by device token, and one feed of all. `index` counts from 1 in each view. Readers pass
the last index they know as `after`, and may wait for the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice

import msgspec

from .registry import Environment


class Notification(msgspec.Struct, frozen=True, gc=False):
    """An accepted notification.

    Attributes:
        index: counts the notifications of its device token.
        feed_index: counts all notifications.
        device_token: the device token, or the identifier of a channel.
        time_ms: epoch ms.
        body: the payload's bytes, unchanged.
        team_id: the team of the key or the client certificate.
        key_id: None with a client certificate.
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
    """The last `per_token` notifications of each device token, and at most `total` of all."""

    def __init__(self, per_token: int, total: int) -> None:
        self._per_token = per_token
        self._total = total
        self._feed: deque[Notification] = deque()
        self._feed_count = 0
        self._by_token: dict[str, deque[Notification]] = {}
        self._counts: dict[str, int] = {}
        self._waiting: dict[str | None, set[asyncio.Future[None]]] = {}
        self._closed = False

    def next_index(self, device_token: str) -> tuple[int, int]:
        """Return the index and the feed index of the next notification of this device token."""
        return self._counts.get(device_token, 0) + 1, self._feed_count + 1

    def add(self, notification: Notification) -> None:
        """Store a notification, drop the oldest above a limit, and wake its waiting readers."""
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
        """Return the number of notifications that the device token has received since the start."""
        return self._counts.get(device_token, 0)

    def of_token(self, device_token: str, after: int = 0) -> list[Notification]:
        """Return the stored notifications of a device token with `index` > `after`, oldest first."""
        return _newer(self._by_token.get(device_token, deque()), after, self._counts.get(device_token, 0))

    def feed(self, after: int = 0) -> list[Notification]:
        """Return the stored notifications with `feed_index` > `after`, oldest first."""
        return _newer(self._feed, after, self._feed_count)

    async def wait(self, device_token: str | None, after: int, seconds: float) -> None:
        """Wait up to `seconds` for a notification after `after`; `device_token` None waits for the feed."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                # The notification that wakes the reader may be at or below `after`.
                while not self._closed and self._last_index(device_token) <= after:
                    await self._next(device_token)
        except TimeoutError:
            pass

    def close(self) -> None:
        """Wake all waiting readers; later `wait` calls return at once."""
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
    # Indices are consecutive, so the number of newer notifications gives their position.
    count = min(max(last - after, 0), len(kept))
    return list(islice(kept, len(kept) - count, None))
