"""The addresses of an APNs host: fresh DNS answers, and connections spread over them.

Apple's engineers ask senders for many teams not to cache DNS answers, and to avoid addresses already in use (developer
forum, thread 778909). One answer serves the connections of one second.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Final

FRESH_SECONDS: Final = 1.0
"""Seconds for which a DNS answer is used."""
AVOID_SECONDS: Final = 60.0
"""Seconds for which an address that did not answer comes after all others."""


class Addresses:
    """The addresses of `host`, least used first."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._known: list[str] = []
        self._asked_at = float("-inf")
        self._in_use: Counter[str] = Counter()
        self._failed_at: dict[str, float] = {}

    async def look_up(self) -> list[str]:
        """Return the addresses in the order in which to try them. Raises OSError if the name has none."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._asked_at >= FRESH_SECONDS:
            infos = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._known = list(dict.fromkeys(str(info[4][0]) for info in infos))
            self._asked_at = now
            self._failed_at = {
                address: at for address, at in self._failed_at.items() if now - at < AVOID_SECONDS
            }
        return sorted(self._known, key=lambda address: (address in self._failed_at, self._in_use[address]))

    def note_open(self, address: str) -> None:
        """Count a connection to `address`."""
        self._in_use[address] += 1

    def note_closed(self, address: str) -> None:
        """Count a connection to `address` no longer."""
        self._in_use[address] -= 1
        if not self._in_use[address]:
            del self._in_use[address]

    def note_failed(self, address: str) -> None:
        """Note that a connection to `address` could not be opened."""
        self._failed_at[address] = asyncio.get_running_loop().time()
