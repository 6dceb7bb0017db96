"""The opening queue: pace, order, and attempts that hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from relay.apns import opening
from relay.apns.connection_cache import ConnectionCache
from relay.apns.opening import OpeningQueue
from tests.eventually import eventually, loop_turns, nothing_happens_for


class Pool:
    """A pool whose attempts last until the test lets them end."""

    def __init__(self, name: str, begun: list[str], *, hangs: bool = False) -> None:
        self.name = name
        self._begun = begun
        self.may_end = asyncio.Event()
        if not hangs:
            self.may_end.set()
        self.cancelled = False

    async def open_connection(self) -> None:
        self._begun.append(self.name)
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class Queue:
    """An opening queue and the names of the pools whose attempts began, in their order."""

    def __init__(self, limit: int, per_second: float) -> None:
        self.cache = ConnectionCache(limit)
        self.queue = OpeningQueue(self.cache, per_second)
        self.begun: list[str] = []

    def ask(self, name: str, *, urgent: bool = False, hangs: bool = False) -> Pool:
        pool = Pool(name, self.begun, hangs=hangs)
        self.queue.request_connection(pool, urgent=urgent)
        return pool


MakeQueue = Callable[..., Queue]


@pytest.fixture
async def make() -> AsyncIterator[MakeQueue]:
    queues: list[Queue] = []

    def make_queue(limit: int = 1_000, per_second: float = 0.0) -> Queue:
        queues.append(Queue(limit, per_second))
        return queues[-1]

    yield make_queue
    for each in queues:
        await each.queue.aclose()


async def test_without_a_pace_all_open_at_once(make: MakeQueue) -> None:
    each = make()
    for number in range(20):
        each.ask(str(number))
    assert each.queue.waiting == 0
    assert each.queue.under_way == 20
    assert each.queue.seconds_until_turn() == 0
    await loop_turns(3)
    assert each.begun == [str(number) for number in range(20)]
    assert each.queue.under_way == 0


async def test_attempts_are_paced(make: MakeQueue) -> None:
    each = make(per_second=50.0)
    started = asyncio.get_running_loop().time()
    for number in range(16):
        each.ask(str(number))
    burst = 16 - each.queue.waiting
    assert 1 <= burst <= 6, "a tenth of a second may be caught up on"
    assert each.queue.seconds_until_turn() == pytest.approx((16 - burst) / 50)
    await eventually(lambda: len(each.begun) == 16)
    assert asyncio.get_running_loop().time() - started >= (16 - burst - 1) / 50


async def test_urgent_ones_go_first(make: MakeQueue) -> None:
    each = make(limit=1)
    first = each.ask("first", hangs=True)
    each.ask("bulk 1")
    hurried = each.ask("bulk 2")
    each.ask("urgent", urgent=True)
    each.queue.hurry(hurried)
    each.queue.hurry(hurried)
    first.may_end.set()
    await eventually(lambda: len(each.begun) == 4)
    assert each.begun == ["first", "urgent", "bulk 2", "bulk 1"]
    each.queue.hurry(hurried)
    assert each.queue.waiting == 0, "it does not wait any more"


async def test_an_urgent_one_is_not_made_more_urgent(make: MakeQueue) -> None:
    each = make(limit=1)
    first = each.ask("first", hangs=True)
    urgent = each.ask("urgent", urgent=True)
    each.queue.hurry(urgent)
    first.may_end.set()
    await eventually(lambda: each.queue.under_way == 0)
    assert each.begun == ["first", "urgent"]


async def test_a_pool_that_was_forgotten_has_no_turn(make: MakeQueue) -> None:
    each = make(limit=1)
    first = each.ask("first", hangs=True)
    forgotten = each.ask("forgotten")
    each.ask("last")
    each.queue.forget(forgotten)
    assert each.queue.waiting == 1
    first.may_end.set()
    await eventually(lambda: each.queue.under_way == 0)
    assert each.begun == ["first", "last"]


async def test_without_room_an_attempt_waits(make: MakeQueue) -> None:
    each = make(limit=2)
    pools = [each.ask(str(number), hangs=True) for number in range(3)]
    await loop_turns(3)
    assert each.begun == ["0", "1"]
    pools[0].may_end.set()
    await eventually(lambda: len(each.begun) == 3)


async def test_a_bounded_number_of_handshakes_runs_at_once(
    make: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAX_FRESH", 3)
    monkeypatch.setattr(opening, "SLOW_SECONDS", 60.0)
    each = make()
    pools = [each.ask(str(number), hangs=True) for number in range(5)]
    await loop_turns(3)
    assert each.begun == ["0", "1", "2"]
    pools[1].may_end.set()
    await eventually(lambda: len(each.begun) == 4)
    await loop_turns(3)
    assert len(each.begun) == 4


async def test_attempts_that_hang_delay_no_other_team(
    make: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAX_FRESH", 3)
    monkeypatch.setattr(opening, "SLOW_SECONDS", 0.2)
    each = make()
    hanging = [each.ask(f"hangs {number}", hangs=True) for number in range(3)]
    others = [each.ask(f"other {number}") for number in range(10)]
    await loop_turns(3)
    assert len(each.begun) == 3, "they may still be quick"
    await eventually(lambda: len(each.begun) == 3 + len(others))
    assert each.queue.under_way == 3
    for pool in hanging:
        pool.may_end.set()


async def test_attempts_that_hang_are_bounded(make: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_ATTEMPTS", 2)
    monkeypatch.setattr(opening, "SLOW_SECONDS", 0.02)
    each = make()
    hanging = [each.ask(f"hangs {number}", hangs=True) for number in range(2)]
    each.ask("other")
    await nothing_happens_for(0.2)
    assert len(each.begun) == 2
    hanging[0].may_end.set()
    await eventually(lambda: each.begun[2:] == ["other"])


async def test_closing_cancels_attempts_and_starts_no_other(make: MakeQueue) -> None:
    each = make(limit=1, per_second=1.0)
    under_way = each.ask("under way", hangs=True)
    each.ask("waiting")
    await loop_turns(3)
    await each.queue.aclose()
    assert under_way.cancelled
    assert (each.queue.under_way, each.queue.waiting) == (0, 0)
    each.ask("late")
    await loop_turns(3)
    assert each.begun == ["under way"]


async def test_closing_ends_the_wait_for_a_turn(make: MakeQueue) -> None:
    each = make(per_second=0.5)
    each.ask("first")
    each.ask("second")
    await loop_turns(3)
    await each.queue.aclose()
    assert each.begun == ["first"]
