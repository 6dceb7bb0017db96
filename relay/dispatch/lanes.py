"""Lanes: what is on its way with each credential. One that is slow or stuck holds up no other.

A lane that moves may hold nearly everything that can be in flight: it makes room again in a moment. One from which no
answer has come for a while gets a quarter of that; what does not fit goes back to the queue and waits there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.core.routing import Leg

STUCK = timedelta(seconds=2)
"""Without an answer for so long, a lane counts as stuck."""


@dataclass(slots=True)
class _Lane:
    size: int = 0
    moved_at: datetime | None = None


class Lanes:
    """Counts installations by credential id. `limit`: how many a lane that moves may hold."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lanes: dict[int, _Lane] = defaultdict(_Lane)

    def admit(self, credential_id: int, legs: Sequence[Leg], now: datetime) -> tuple[list[Leg], list[Leg]]:
        """The legs that may leave now, which are counted as of now, and those that have to wait."""
        lane = self._lanes[credential_id]
        if not lane.size or lane.moved_at is None:
            lane.moved_at = now
        limit = self._limit if now - lane.moved_at < STUCK else self._limit // 4
        admitted: list[Leg] = []
        waiting: list[Leg] = []
        for leg in legs:
            if not lane.size or lane.size + len(leg) <= limit:
                lane.size += len(leg)
                admitted.append(leg)
            else:
                waiting.append(leg)
        return admitted, waiting

    def moved(self, credential_id: int, now: datetime) -> None:
        """Answers have come."""
        self._lanes[credential_id].moved_at = now

    def leave(self, credential_id: int, size: int) -> None:
        """So many installations have ended, in whatever way."""
        lane = self._lanes[credential_id]
        lane.size -= size
        if not lane.size:
            del self._lanes[credential_id]
