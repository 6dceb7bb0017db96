"""Lanes: what is on its way with each credential. One that is slow or stuck holds up no other.

A lane that moves may hold three quarters of what can be in flight: it makes room again in a moment. One from which no
answer has come for a while gets a quarter of that. And no lane grows beyond three times what all of them leave free
(dynamic thresholds, Choudhury and Hahne 1998), so several that are stuck leave room as well. What does not fit goes
back to the queue and waits there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.core.delivery.plan import SendJob

STUCK = timedelta(seconds=2)
"""Without an answer for so long, a lane counts as stuck."""
_SHARE = 3
_PAUSE, _LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=5)


@dataclass(slots=True)
class _Lane:
    size: int = 0
    moved_at: datetime | None = None


class Lanes:
    """Counts installations by credential id, of which `room` may be in flight."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._limit = room // 4 * 3
        self._total = 0
        self._lanes: dict[int, _Lane] = defaultdict(_Lane)

    def admit(
        self, credential_id: int, legs: Sequence[SendJob], now: datetime
    ) -> tuple[list[SendJob], list[SendJob]]:
        """The legs that may leave now, which are counted as of now, and those that have to wait.

        A lane that is empty takes a leg of any size.
        """
        lane = self._lanes[credential_id]
        if not lane.size or lane.moved_at is None:
            lane.moved_at = now
        limit = self._limit if now - lane.moved_at < STUCK else self._limit // 4
        admitted: list[SendJob] = []
        waiting: list[SendJob] = []
        for leg in legs:
            size, total = lane.size + len(leg), self._total + len(leg)
            if not lane.size or size <= min(limit, _SHARE * (self._room - total)):
                lane.size, self._total = size, total
                admitted.append(leg)
            else:
                waiting.append(leg)
        return admitted, waiting

    def pause(self, credential_id: int, now: datetime) -> timedelta:
        """How long what has to wait should wait: the longer a lane is stuck, the longer."""
        moved_at = self._lanes[credential_id].moved_at or now
        return min(max(_PAUSE, (now - moved_at) / 2), _LONGEST_PAUSE)

    def moved(self, credential_id: int, now: datetime) -> None:
        """Answers have come."""
        self._lanes[credential_id].moved_at = now

    def leave(self, credential_id: int, size: int) -> None:
        """So many installations have ended, in whatever way."""
        lane = self._lanes[credential_id]
        lane.size -= size
        self._total -= size
        if not lane.size:
            del self._lanes[credential_id]
