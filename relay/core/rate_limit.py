"""Rate limits: an average of requests per second and a burst, per caller.

The generic cell rate algorithm (ITU-T I.371) keeps one number per caller: the moment at which its requests so far are
paid off. No timer is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from uuid import UUID

_MIN_CLEANUP_SIZE = 1024
"""The number of callers from which on paid-off ones are dropped."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The answer to a request for admission. Seconds are whole ones, rounded up, as headers carry them."""

    allowed: bool
    remaining: int
    """The number of requests that would be allowed at once after this one."""
    reset: int
    """Seconds until the whole burst is free again."""
    retry_after: int
    """Seconds until the next request is allowed; 0 if it is now."""


class RateLimit:
    """A limit of `per_second` requests on average and `burst` at once, per caller."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.burst = burst
        self.window = max(1, math.ceil(burst / per_second))
        """Seconds until a whole burst is free again."""
        self._interval = 1.0 / per_second
        self._paid_at: dict[UUID, float] = {}
        self._cleanup_size = _MIN_CLEANUP_SIZE

    def count_request(self, caller: UUID, now: float) -> Allowance:
        """Count a request of `caller` at `now` (seconds of a monotonic clock) and say whether it is allowed."""
        if len(self._paid_at) > self._cleanup_size:
            self._forget(now)
        paid_at = max(self._paid_at.get(caller, now), now) + self._interval
        over = paid_at - now - self.burst * self._interval
        if over > self._interval * 1e-6:  # a smaller difference is rounding
            return Allowance(False, 0, math.ceil(paid_at - self._interval - now), max(1, math.ceil(over)))
        self._paid_at[caller] = paid_at
        remaining = int(-over / self._interval + 1e-6)
        return Allowance(True, remaining, math.ceil(paid_at - now), 0 if remaining else 1)

    def __len__(self) -> int:
        """Return the number of callers that are remembered."""
        return len(self._paid_at)

    def _forget(self, now: float) -> None:
        """Drop callers that have paid everything off: their state equals that of a new caller."""
        self._paid_at = {caller: at for caller, at in self._paid_at.items() if at > now}
        self._cleanup_size = max(_MIN_CLEANUP_SIZE, 2 * len(self._paid_at))
