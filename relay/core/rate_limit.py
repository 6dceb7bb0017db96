"""How often a caller may ask: so many requests a second, and a burst beyond that.

The generic cell rate algorithm (ITU-T I.371): one number for each caller, the moment at which everything it asked for
will have been paid off. Nothing has to be filled up by a timer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller may do now. Seconds are whole ones, rounded up, as headers carry them."""

    allowed: bool
    remaining: int
    """Requests that would be allowed at once after this one."""
    reset: int
    """Seconds until the whole burst is free again."""
    retry_after: int
    """Seconds until the next request is allowed; 0 if it is now."""


class RateLimit:
    """`per_second` requests on average and `burst` at once, for each caller."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.burst = burst
        self.window = max(1, math.ceil(burst / per_second))
        """Seconds in which a whole burst becomes free again."""
        self._interval = 1.0 / per_second
        self._paid_at: dict[UUID, float] = {}
        self._many = 1024

    def count_request(self, caller: UUID, now: float) -> Allowance:
        """One request of that caller at `now` (seconds of any clock that never goes back)."""
        if len(self._paid_at) > self._many:
            self._forget(now)
        paid_at = max(self._paid_at.get(caller, now), now) + self._interval
        over = paid_at - now - self.burst * self._interval
        if over > self._interval * 1e-6:  # less than that is rounding
            return Allowance(False, 0, math.ceil(paid_at - self._interval - now), max(1, math.ceil(over)))
        self._paid_at[caller] = paid_at
        remaining = int(-over / self._interval + 1e-6)
        return Allowance(True, remaining, math.ceil(paid_at - now), 0 if remaining else 1)

    def __len__(self) -> int:
        """The callers that are remembered."""
        return len(self._paid_at)

    def _forget(self, now: float) -> None:
        """Callers that have paid everything off are as good as new."""
        self._paid_at = {caller: at for caller, at in self._paid_at.items() if at > now}
        self._many = max(1024, 2 * len(self._paid_at))
