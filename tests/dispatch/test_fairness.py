"""Lanes: a credential that moves may fill them, one that is stuck may not."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from relay.core.delivery.plan import SendJob
from relay.dispatch.fairness import STUCK_AFTER, Lanes
from tests.factories import make_batch, make_send_batch

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def leg(size: int) -> SendJob:
    ids = list(range(size))
    return SendJob(make_batch(installations=ids), make_send_batch(size=size), ids, "t", None)


def test_a_lane_that_moves_may_be_filled_leg_by_leg() -> None:
    lanes = Lanes(140)
    admitted, waiting = lanes.admit(1, [leg(40), leg(40), leg(40), leg(20)], NOW)
    assert ([len(one) for one in admitted], [len(one) for one in waiting]) == (
        [40, 40, 20],
        [40],
    )
    lanes.leave(1, 40)
    assert lanes.admit(1, waiting, NOW) == (waiting, [])


def test_a_lane_without_answers_gets_a_quarter() -> None:
    lanes = Lanes(140)
    later = NOW + STUCK_AFTER
    assert lanes.admit(1, [leg(20)], NOW)[1] == []
    assert lanes.admit(1, [leg(20)], later)[0] == []
    assert lanes.admit(2, [leg(60)], later)[1] == [], "another credential is not held up"
    lanes.note_answers(1, 0, later)
    assert lanes.admit(1, [leg(20)], later + timedelta(seconds=1))[1] == []


def test_an_empty_lane_takes_a_leg_of_any_size() -> None:
    lanes = Lanes(140)
    assert lanes.admit(1, [leg(1000)], NOW)[1] == []
    lanes.leave(1, 1000)
    assert lanes.admit(1, [leg(50), leg(50)], NOW + timedelta(hours=1))[1] == []


def test_several_lanes_that_are_stuck_leave_room() -> None:
    lanes = Lanes(1000)
    free = 1000
    for credential_id in range(4):
        admitted, waiting = lanes.admit(credential_id, [leg(1)] * 1000, NOW)
        assert admitted
        assert waiting
        assert len(admitted) <= free * 3 // 4, "each leaves a quarter of what there was"
        free -= len(admitted)
    lanes.leave(0, 700)
    assert len(lanes.admit(4, [leg(1)] * 1000, NOW)[0]) > 500, "what is free again is for whoever moves"


def test_what_waits_for_a_stuck_lane_waits_longer_and_longer_but_not_for_long() -> None:
    lanes = Lanes(140)
    lanes.admit(1, [leg(100)], NOW)
    waits = [lanes.pause(1, NOW + timedelta(seconds=seconds)).total_seconds() for seconds in (0, 2, 6, 600)]
    assert waits == [1, 1, 3, 5]
    lanes.note_answers(1, 0, NOW + timedelta(seconds=600))
    assert lanes.pause(1, NOW + timedelta(seconds=600)).total_seconds() == 1


def test_whatever_is_admitted_leaves_in_the_end() -> None:
    """Lanes of random credentials and sizes: the room is never exceeded, but for a lane's first job."""
    chance, lanes = random.Random(3), Lanes(200)
    under_way: list[tuple[int, int]] = []
    now = NOW
    for _ in range(2_000):
        now += timedelta(seconds=chance.random())
        credential_id = chance.randrange(8)
        if chance.random() < 0.5:
            before = sum(size for _, size in under_way)
            was_empty = all(other != credential_id for other, _ in under_way)
            admitted, waiting = lanes.admit(credential_id, [leg(chance.randrange(1, 30))], now)
            under_way += [(credential_id, len(job)) for job in admitted]
            assert len(admitted) + len(waiting) == 1
            assert was_empty or before + sum(map(len, admitted)) <= 200
            assert admitted or not was_empty, "an empty lane takes any job"
        elif under_way:
            credential_id, size = under_way.pop(chance.randrange(len(under_way)))
            if chance.random() < 0.5:
                lanes.leave(credential_id, size)
            else:
                lanes.note_answers(credential_id, size, now)
        assert lanes._total == sum(size for _, size in under_way)
    for credential_id, size in under_way:
        lanes.leave(credential_id, size)
    assert lanes._lanes == {}
    assert lanes._total == 0
