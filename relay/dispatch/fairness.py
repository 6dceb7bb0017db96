"""Fairness between credentials: none that is slow or stuck holds up the others.

A lane is what is on its way with one credential. A lane that moves may hold three quarters of what can be in flight: it
makes room again in a moment. One without an answer for `STUCK_AFTER` may hold a quarter of that. And no lane grows
beyond three times what all of them leave free (dynamic thresholds, Choudhury and Hahne 1998), so several that are stuck
leave room as well. What does not fit goes back to the queue and waits there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.core.delivery.plan import SendJob

STUCK_AFTER = timedelta(seconds=2)
"""A lane without an answer for this long counts as stuck."""
_SHARE_OF_FREE_ROOM = 3
_PAUSE, _LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=5)


@dataclass(slots=True)
class _Lane:
    size: int
    moved_at: datetime


class Lanes:
    """Counts installations by credential id, of which `room` may be in flight."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._limit = room // 4 * 3
        self._total = 0
        self._lanes: dict[int, _Lane] = {}

    def admit(
        self, credential_id: int, jobs: Sequence[SendJob], now: datetime
    ) -> tuple[list[SendJob], list[SendJob]]:
        """Return (the jobs that may leave now, those that have to wait). The former are counted from now on.

        A lane that is empty takes a job of any size.
        """
        lane = self._lanes.get(credential_id)
        if lane is None:
            lane = self._lanes[credential_id] = _Lane(0, now)
        limit = self._limit if now - lane.moved_at < STUCK_AFTER else self._limit // 4
        admitted: list[SendJob] = []
        waiting: list[SendJob] = []
        for job in jobs:
            size, total = lane.size + len(job), self._total + len(job)
            if not lane.size or size <= min(limit, _SHARE_OF_FREE_ROOM * (self._room - total)):
                lane.size, self._total = size, total
                admitted.append(job)
            else:
                waiting.append(job)
        return admitted, waiting

    def pause(self, credential_id: int, now: datetime) -> timedelta:
        """Return how long what has to wait should wait: the longer a lane is stuck, the longer."""
        lane = self._lanes.get(credential_id)
        stuck = now - lane.moved_at if lane else timedelta()
        return min(max(_PAUSE, stuck / 2), _LONGEST_PAUSE)

    def note_answers(self, credential_id: int, count: int, now: datetime) -> None:
        """Count `count` installations no longer: their answers have come."""
        lane = self._lanes[credential_id]
        lane.moved_at = now
        self.leave(credential_id, count)

    def leave(self, credential_id: int, count: int) -> None:
        """Count `count` installations no longer, for whatever reason."""
        lane = self._lanes[credential_id]
        lane.size -= count
        self._total -= count
        if not lane.size:
            del self._lanes[credential_id]
