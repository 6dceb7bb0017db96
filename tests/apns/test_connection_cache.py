"""The cache of open connections: its bound, and which connection closes to make room."""

from __future__ import annotations

import random

from relay.apns.connection_cache import ConnectionCache
from relay.telemetry.metrics import APNS_EVICTIONS


class Connection:
    """A connection that closes when the test says so."""

    def __init__(self) -> None:
        self.evicted = False
        self.streams = 0
        self.drained = ""

    def drain(self, reason: str) -> None:
        self.drained = reason


class Process:
    """A cache with the connections that were opened through it."""

    def __init__(self, limit: int) -> None:
        self.rooms = 0
        """How often the cache said that there may be room."""
        self.cache = ConnectionCache(limit, self._note_room)
        self.sockets: list[Connection] = []
        """Open or closing."""
        self.attempts = 0

    def _note_room(self) -> None:
        self.rooms += 1

    def begin(self, wanted: int = 1) -> bool:
        began = self.cache.reserve(wanted)
        self.attempts += began
        return began

    def succeed(self) -> Connection:
        """End an attempt: its connection is idle."""
        connection = Connection()
        self.cache.add(connection)
        self.sockets.append(connection)
        self.cache.mark_idle(connection)
        self.attempts -= 1
        self.cache.release()
        return connection

    def open(self) -> Connection:
        assert self.begin()
        return self.succeed()

    def fail(self) -> None:
        self.attempts -= 1
        self.cache.release()

    def lose(self, connection: Connection) -> None:
        self.sockets.remove(connection)
        self.cache.discard(connection)


def test_the_bound_counts_those_being_opened_and_those_being_closed() -> None:
    process = Process(2)
    first = process.open()
    assert process.begin()
    assert not process.begin(), "one is open, one is being opened"
    assert first.drained == "Evicted"
    assert not process.begin(), "it is not gone yet"
    process.lose(first)
    assert process.begin()
    assert not process.begin()
    assert len(process.cache) == 0


def test_the_least_recently_used_idle_one_closes_first() -> None:
    process = Process(3)
    first, second, third = process.open(), process.open(), process.open()
    process.cache.mark_busy(first)
    process.cache.mark_idle(first)
    before = APNS_EVICTIONS._value.get()
    for expected in (second, third, first):
        assert not process.begin()
        assert [each for each in process.sockets if each.drained] == [expected]
        assert expected.evicted
        process.lose(expected)
        process.open()
        process.cache.mark_busy(process.sockets[-1])
    assert APNS_EVICTIONS._value.get() - before == 3


def test_a_busy_one_never_closes_and_its_end_is_the_next_chance() -> None:
    process = Process(1)
    connection = process.open()
    process.cache.mark_busy(connection)
    assert not process.begin()
    assert not connection.drained
    rooms = process.rooms
    process.cache.mark_idle(connection)
    assert process.rooms == rooms + 1
    assert not process.begin()
    assert connection.drained


def test_below_the_bound_nobody_is_called_when_a_push_ends() -> None:
    process = Process(2)
    connection = process.open()
    rooms = process.rooms
    process.cache.mark_idle(connection)
    assert process.rooms == rooms


def test_as_many_close_as_are_wanted() -> None:
    process = Process(5)
    for _ in range(5):
        process.open()
    assert not process.begin(wanted=3)
    assert sum(each.evicted for each in process.sockets) == 3
    assert not process.begin(wanted=3)
    assert sum(each.evicted for each in process.sockets) == 3, "these are closing already"


def test_not_all_of_a_large_cache_closes_at_once() -> None:
    process = Process(200)
    for _ in range(200):
        process.open()
    assert not process.begin(wanted=1_000)
    assert sum(each.evicted for each in process.sockets) == 64


def test_a_failed_attempt_gives_its_place_back() -> None:
    process = Process(1)
    assert process.begin()
    process.fail()
    assert process.rooms == 1
    assert process.begin()


def test_a_connection_that_was_never_added_is_no_loss() -> None:
    process = Process(1)
    connection = Connection()
    process.cache.mark_idle(connection)
    process.cache.discard(connection)
    assert process.rooms == 0
    assert list(process.cache) == []


def test_the_room_of_one_that_is_lost_is_offered() -> None:
    process = Process(2)
    connection = process.open()
    rooms = process.rooms
    process.lose(connection)
    assert process.rooms == rooms + 1
    assert list(process.cache) == []


def test_the_bound_holds_whatever_happens() -> None:
    process, chance = Process(7), random.Random(5)
    for _ in range(5_000):
        action = chance.randrange(6)
        if action <= 1:
            process.begin(chance.randrange(1, 10))
        elif action == 2 and process.attempts:
            process.succeed()
        elif action == 3 and process.attempts:
            process.fail()
        elif process.sockets:
            connection = chance.choice(process.sockets)
            if action == 4 and connection.drained:
                process.lose(connection)
            elif action == 5 and not connection.drained:
                chance.choice((process.cache.mark_busy, process.cache.mark_idle))(connection)
        assert len(process.sockets) + process.attempts <= 7
