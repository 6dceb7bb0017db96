"""The due times of retries.

A retry is a row with a due time. The wait doubles with each attempt up to a longest one, and is spread evenly over its
upper half, so that pushes that failed together are not retried together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.core.delivery.reasons import ReasonAction


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first and the longest wait between attempts."""

    first_seconds: float
    longest_seconds: float

    def wait_seconds(self, attempt: int, spread: float) -> float:
        """Return the seconds to wait after `attempt` (0 is the first); `spread` is a random number from 0 to 1."""
        longest: float = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt, 30))
        return longest / 2 + longest / 2 * spread


SOON_SECONDS = 0.25
"""The longest wait before the first retry after a passing fault."""


def next_attempt(
    action: ReasonAction, attempt: int, now: datetime, expires_at: datetime, backoff: Backoff, spread: float
) -> datetime | None:
    """Return the due time of the attempt after `attempt` (0 is the first), or None if the push expires before."""
    seconds = backoff.wait_seconds(attempt, spread)
    if action is ReasonAction.RETRY_SOON and attempt == 0:
        seconds = SOON_SECONDS * spread
    due = now + timedelta(seconds=seconds)
    return due if due < expires_at else None
