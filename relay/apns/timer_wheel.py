"""A timer wheel: one timer of the event loop for the deadlines of any number of connections.

A deadline is rounded up to a slot of `tick` seconds. Moving one costs two set operations, so a connection may move its
deadline at every push. The loop's timer is set to the first slot in use; while nothing is due, nothing runs.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Protocol


class Timed(Protocol):
    """An object with one deadline in a wheel."""

    wheel_slot: int | None
    """The slot that holds it. Only the wheel changes this."""

    def on_deadline(self) -> None:
        """Act on the deadline. The object has left the wheel, and may enter it again."""


class TimerWheel:
    """Deadlines in slots of `tick` seconds, for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: float) -> None:
        self._loop = loop
        self._tick = tick
        self._slots: dict[int, set[Timed]] = {}
        self._order: list[int] = []
        """A heap of the slots in use; emptied slots leave it when they come first."""
        self._ordered: set[int] = set()
        """The slots in `_order`. A slot that is emptied and filled again and again stands there once."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_slot = 0

    def set_deadline(self, timed: Timed, when: float) -> None:
        """Call `timed.on_deadline()` at `when` (the loop's time) or up to one tick later, instead of what was set."""
        slot = int(when / self._tick) + 1
        if timed.wheel_slot == slot:
            return
        if timed.wheel_slot is not None:
            self._leave(timed, timed.wheel_slot)
        timed.wheel_slot = slot
        members = self._slots.get(slot)
        if members is None:
            self._slots[slot] = {timed}
            if slot not in self._ordered:
                self._ordered.add(slot)
                heapq.heappush(self._order, slot)
            if self._timer is None or slot < self._timer_slot:
                self._set_timer(slot)
        else:
            members.add(timed)

    def set_deadline_at_latest(self, timed: Timed, when: float) -> None:
        """Set the deadline to `when` unless there is an earlier one."""
        if timed.wheel_slot is None or timed.wheel_slot > int(when / self._tick) + 1:
            self.set_deadline(timed, when)

    def remove(self, timed: Timed) -> None:
        """Drop the deadline of `timed`, if it has one."""
        if timed.wheel_slot is not None:
            self._leave(timed, timed.wheel_slot)
            timed.wheel_slot = None
            if not self._slots and self._timer is not None:
                self._timer.cancel()
                self._timer = None
                self._order.clear()
                self._ordered.clear()

    def _leave(self, timed: Timed, slot: int) -> None:
        members = self._slots[slot]
        members.discard(timed)
        if not members:
            del self._slots[slot]

    def _set_timer(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_slot = slot
        self._timer = self._loop.call_at(slot * self._tick, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now_slot = int(self._loop.time() / self._tick)
        due: list[Timed] = []
        while self._order and self._order[0] <= now_slot:
            due += self._slots.pop(self._pop_slot(), ())
        for timed in due:
            timed.wheel_slot = None
        for timed in due:
            if timed.wheel_slot is None:
                timed.on_deadline()
        while self._order and self._order[0] not in self._slots:
            self._pop_slot()
        if self._order and (self._timer is None or self._order[0] < self._timer_slot):
            self._set_timer(self._order[0])

    def _pop_slot(self) -> int:
        slot = heapq.heappop(self._order)
        self._ordered.remove(slot)
        return slot
