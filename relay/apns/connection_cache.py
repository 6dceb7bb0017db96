"""The open connections of a process: a cache that stays warm, with one bound for all teams.

APNs takes one team a connection, and a store has thousands of teams. So a connection stays open for days, and the
least recently used one without a push in flight closes first, with GOAWAY, when the bound is reached (Apple, "Sending
notification requests to APNs": keep connections open; opening and closing them again and again looks like an attack).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from relay.telemetry.metrics import APNS_EVICTIONS

_MAX_CLOSING = 64
"""Evicted connections that may be closing at once."""


class CachedConnection(Protocol):
    """An open connection, as the cache sees it."""

    evicted: bool

    @property
    def streams(self) -> int:
        """Pushes that wait for their answer."""

    def drain(self, reason: str) -> None:
        """Take nothing more, and close with GOAWAY once nothing is in flight."""


class ConnectionCache:
    """At most `limit` connections, those that are being opened or closed included.

    `on_room` is called when there may be room for another one.
    """

    def __init__(self, limit: int, on_room: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self.on_room = on_room
        self._open: set[CachedConnection] = set()
        self._idle: dict[CachedConnection, None] = {}
        """Usable ones without a push, the least recently used first."""
        self._reserved = 0
        self._closing = 0
        """Those that were evicted and are not gone yet."""

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[CachedConnection]:
        return iter(self._open)

    def reserve(self, wanted: int = 1) -> bool:
        """Reserve a place for a connection that is about to be opened.

        Returns False if there is none now. Then up to `wanted` least recently used idle connections begin to close,
        and `on_room` is called for each that is gone.
        """
        if len(self._open) + self._reserved < self.limit:
            self._reserved += 1
            return True
        while self._idle and self._closing < min(wanted, _MAX_CLOSING):
            self._evict()
        return False

    def release(self) -> None:
        """Give a reserved place back: the attempt has failed, or `add` follows."""
        self._reserved -= 1
        self.on_room()

    def add(self, connection: CachedConnection) -> None:
        """Take in a connection that is open."""
        self._open.add(connection)

    def mark_busy(self, connection: CachedConnection) -> None:
        """Note that pushes were handed to it."""
        self._idle.pop(connection, None)

    def mark_idle(self, connection: CachedConnection) -> None:
        """Note that its last push has ended: it is the most recently used one."""
        if connection in self._open:
            self._idle[connection] = None
            if len(self._open) + self._reserved >= self.limit:
                self.on_room()

    def discard(self, connection: CachedConnection) -> None:
        """Forget a connection that is gone."""
        self._idle.pop(connection, None)
        if connection in self._open:
            self._open.remove(connection)
            if connection.evicted:
                self._closing -= 1
            self.on_room()

    def _evict(self) -> None:
        connection = next(iter(self._idle))
        del self._idle[connection]
        connection.evicted = True
        self._closing += 1
        APNS_EVICTIONS.inc()
        connection.drain("Evicted")
