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
