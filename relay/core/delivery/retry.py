"""When a push is tried again, or never.

A retry is a row with a due time, so the decision is a moment. The wait doubles with each attempt up to a longest
one, and is spread evenly over its upper half, so that what failed together does not come back together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.core.delivery.reasons import ReasonAction


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first and the longest wait, in seconds."""

    first_seconds: float
    longest_seconds: float

    def wait_seconds(self, attempt: int, spread: float) -> float:
        """Seconds to wait after that attempt (0 is the first); `spread` is a random number from 0 to 1."""
        longest: float = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt, 30))
        return longest / 2 + longest / 2 * spread


SOON_SECONDS = 0.25
"""Seconds before a push that was refused by a passing fault is tried again for the first time."""


def next_attempt(
    action: ReasonAction, attempt: int, now: datetime, expires_at: datetime, backoff: Backoff, spread: float
) -> datetime | None:
    """When to try again after `attempt` (0 is the first), or None if the push will have expired by then."""
    seconds = backoff.wait_seconds(attempt, spread)
    if action is ReasonAction.RETRY_SOON and attempt == 0:
        seconds = SOON_SECONDS * spread
    due = now + timedelta(seconds=seconds)
    return due if due < expires_at else None
