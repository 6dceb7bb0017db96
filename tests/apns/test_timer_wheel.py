"""The timer wheel, on a loop whose time the test sets; and any sequence of its operations against a naive model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from relay.apns.timer_wheel import TimerWheel

TICK = 0.5


class Timer:
    """A timer of `Loop`."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The part of an event loop that a wheel uses."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []
        self.runs = 0
        """Timers that have run."""

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def pending(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def advance(self, seconds: float) -> None:
        """Let time pass at once, as on a busy loop, and run the timers that are due then."""
        self.now += seconds
        while due := [timer for timer in self.pending() if timer.when <= self.now]:
            first = min(due, key=lambda timer: timer.when)
            self.timers.remove(first)
            self.runs += 1
            first.callback()


class Deadline:
    """An object in a wheel that notes its name when its deadline has come."""

    def __init__(self, name: int, rung: list[int]) -> None:
        self.name = name
        self.wheel_slot: int | None = None
        self._rung = rung
        self.then: Callable[[], None] = lambda: None

    def on_deadline(self) -> None:
        assert self.wheel_slot is None, "it has left the wheel"
        self._rung.append(self.name)
        self.then()


class Clockwork:
    """A wheel with ten objects."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.wheel = TimerWheel(cast(asyncio.AbstractEventLoop, self.loop), TICK)
        self.rung: list[int] = []
        self.things = [Deadline(name, self.rung) for name in range(10)]

    def set_in(self, name: int, seconds: float) -> None:
        self.wheel.set_deadline(self.things[name], self.loop.now + seconds)

    def rings_in(self, seconds: float) -> list[int]:
        """Return what rings within `seconds`, in its order."""
        self.rung.clear()
        self.loop.advance(seconds)
        return list(self.rung)


def test_deadlines_come_in_their_order_and_at_most_a_tick_late() -> None:
    clockwork = Clockwork()
    clockwork.set_in(1, 30.0)
    clockwork.set_in(2, 10.0)
    clockwork.set_in(3, 20.0)
    assert clockwork.rings_in(9.9) == []
    assert clockwork.rings_in(0.1 + TICK) == [2]
    assert clockwork.rings_in(30.0) == [3, 1]
    assert clockwork.rings_in(1_000.0) == []


def test_a_deadline_moves() -> None:
    clockwork = Clockwork()
    clockwork.set_in(1, 10.0)
    clockwork.set_in(1, 20.0)
    assert clockwork.rings_in(15.0) == []
    clockwork.set_in(1, 1.0)
    assert clockwork.rings_in(1.0 + TICK) == [1]
    assert clockwork.rings_in(100.0) == []


def test_the_earlier_of_two_deadlines_stays() -> None:
    clockwork = Clockwork()
    thing, now = clockwork.things[1], clockwork.loop.now
    clockwork.wheel.set_deadline_at_latest(thing, now + 10)
    clockwork.wheel.set_deadline_at_latest(thing, now + 20)
    clockwork.wheel.set_deadline_at_latest(thing, now + 10)
    assert clockwork.rings_in(10 + TICK) == [1]
    clockwork.set_in(1, 20.0)
    clockwork.wheel.set_deadline_at_latest(thing, clockwork.loop.now + 5)
    assert clockwork.rings_in(5 + TICK) == [1]


def test_what_was_removed_does_not_ring() -> None:
    clockwork = Clockwork()
    clockwork.set_in(1, 10.0)
    clockwork.set_in(2, 10.0)
    clockwork.wheel.remove(clockwork.things[1])
    clockwork.wheel.remove(clockwork.things[1])
    assert clockwork.rings_in(20.0) == [2]


def test_nothing_runs_while_nothing_is_due() -> None:
    clockwork = Clockwork()
    assert clockwork.loop.pending() == []
    for name in range(10):
        clockwork.set_in(name, 3_600.0 + name)
    assert len(clockwork.loop.pending()) == 1, "one timer for all"
    clockwork.loop.advance(3_599.0)
    assert clockwork.loop.runs == 0
    for thing in clockwork.things:
        clockwork.wheel.remove(thing)
    assert clockwork.loop.pending() == [], "without deadlines there is no timer"


def test_a_deadline_that_moves_at_each_push_leaves_nothing_behind() -> None:
    """As that of a busy connection does, between the next look and the next PING in an hour."""
    clockwork = Clockwork()
    clockwork.set_in(2, 7_200.0)
    for _ in range(10_000):
        clockwork.set_in(1, 3_600.0)
        clockwork.set_in(1, 1.0)
    assert len(clockwork.wheel._order) <= 3
    assert clockwork.rings_in(2.0) == [1]


def test_a_deadline_may_be_set_while_it_rings() -> None:
    clockwork = Clockwork()
    clockwork.things[1].then = lambda: clockwork.set_in(1, 10.0)
    clockwork.set_in(1, 1.0)
    assert clockwork.rings_in(5.0) == [1]
    assert clockwork.rings_in(5.0) == []
    assert clockwork.rings_in(5.0 + TICK) == [1]


def test_what_gets_another_deadline_while_its_own_is_due_waits_for_that() -> None:
    clockwork = Clockwork()
    clockwork.set_in(1, 1.0)
    clockwork.set_in(2, 2.0)
    clockwork.things[1].then = lambda: clockwork.set_in(2, 10.0)
    assert clockwork.rings_in(5.0) == [1]
    assert clockwork.rings_in(5.0) == []
    assert clockwork.rings_in(5.0 + TICK) == [2]


def test_a_deadline_that_has_passed_rings_at_the_next_turn() -> None:
    clockwork = Clockwork()
    clockwork.set_in(1, -50.0)
    assert clockwork.rings_in(0.0) == [1]


NAMES = st.integers(0, 9)
SECONDS = st.integers(-4, 40).map(lambda quarters: quarters / 4)
OPERATIONS = st.one_of(
    st.tuples(st.just("set"), NAMES, SECONDS),
    st.tuples(st.just("at latest"), NAMES, SECONDS),
    st.tuples(st.just("remove"), NAMES, st.just(0.0)),
    st.tuples(st.just("pass"), NAMES, SECONDS.map(abs)),
)


@given(st.lists(OPERATIONS, max_size=60))
def test_any_sequence_is_as_a_dictionary_would_have_it(operations: list[tuple[str, int, float]]) -> None:
    clockwork = Clockwork()
    model: dict[int, float] = {}
    for operation, name, seconds in operations:
        when = clockwork.loop.now + seconds
        due_at = (when // TICK + 1) * TICK
        if operation == "set":
            clockwork.set_in(name, seconds)
            model[name] = due_at
        elif operation == "at latest":
            clockwork.wheel.set_deadline_at_latest(clockwork.things[name], when)
            model[name] = min(model.get(name, due_at), due_at)
        elif operation == "remove":
            clockwork.wheel.remove(clockwork.things[name])
            model.pop(name, None)
        else:
            rung = clockwork.rings_in(seconds)
            due = {each: at for each, at in model.items() if at <= clockwork.loop.now}
            assert set(rung) == due.keys()
            assert len(rung) == len(due)
            assert [due[each] for each in rung] == sorted(due.values()), "in the order of time"
            model = {each: at for each, at in model.items() if each not in due}
        assert bool(clockwork.loop.pending()) == bool(model)
