"""Time and randomness as arguments: what the relay is given instead of reaching for them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """The time, with its zone (UTC)."""


class Random(Protocol):
    """Where random bytes come from; `secrets.token_bytes` is one."""

    def __call__(self, size: int, /) -> bytes:
        """So many random bytes, fit for secrets."""


class Portions:
    """Random bytes for ids, fetched from their source in portions: asking the system costs more than using them."""

    def __init__(self, source: Random, portion: int = 4096) -> None:
        self._source = source
        self._portion = portion
        self._bytes = b""
        self._used = 0

    def __call__(self, size: int, /) -> bytes:
        """So many bytes, `portion` at most, that were never handed out before."""
        if self._used + size > len(self._bytes):
            self._bytes, self._used = self._source(self._portion), 0
        self._used += size
        return self._bytes[self._used - size : self._used]
