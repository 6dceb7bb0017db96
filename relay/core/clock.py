"""Protocols of time and randomness, which come in as arguments everywhere."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """Return the current time in UTC, with its zone."""


class Random(Protocol):
    """A source of random bytes, such as `secrets.token_bytes`."""

    def __call__(self, size: int, /) -> bytes:
        """Return `size` random bytes, fit for secrets."""
