"""Rate limits: an average and a burst per caller."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from relay.core.rate_limit import RateLimit

ANNA, BERT = UUID(int=1), UUID(int=2)


def test_a_burst_then_the_average() -> None:
    limit = RateLimit(2.0, 5)
    assert [limit.count_request(ANNA, 100.0).remaining for _ in range(5)] == [4, 3, 2, 1, 0]
    refused = limit.count_request(ANNA, 100.0)
    assert not refused.allowed
    assert (refused.remaining, refused.retry_after, refused.reset) == (0, 1, 3)
    assert not limit.count_request(ANNA, 100.4).allowed
    assert limit.count_request(ANNA, 100.5).allowed
    assert not limit.count_request(ANNA, 100.6).allowed
    assert limit.count_request(ANNA, 1000.0).remaining == 4


def test_callers_are_limited_independently() -> None:
    limit = RateLimit(1.0, 1)
    assert limit.count_request(ANNA, 0.0).allowed
    assert not limit.count_request(ANNA, 0.0).allowed
    assert limit.count_request(BERT, 0.0).allowed


def test_a_slow_rate_says_how_long_to_wait() -> None:
    limit = RateLimit(0.1, 1)
    assert limit.count_request(ANNA, 0.0).allowed
    assert limit.count_request(ANNA, 0.0).retry_after == 10
    assert limit.window == 10


@given(
    per_second=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    waits=st.lists(st.floats(0, 3), min_size=1, max_size=200),
)
def test_never_more_than_burst_and_average(per_second: float, burst: int, waits: list[float]) -> None:
    limit, now, allowed = RateLimit(per_second, burst), 0.0, 0
    for wait in waits:
        now += wait
        answer = limit.count_request(ANNA, now)
        allowed += answer.allowed
        assert allowed <= burst + per_second * now + 1e-3
        if not answer.allowed:  # allowed after the wait that the answer names
            now += answer.retry_after
            allowed += 1
            assert limit.count_request(ANNA, now).allowed


def test_callers_that_have_paid_are_forgotten() -> None:
    limit = RateLimit(1.0, 1)
    for number in range(1025):
        limit.count_request(UUID(int=number), 0.0)
    assert len(limit) == 1025, "a thousand may stay"
    limit.count_request(UUID(int=5000), 0.5)
    assert len(limit) == 1026, "none of them has paid"
    for number in range(2000, 3025):
        limit.count_request(UUID(int=number), 0.5)
    limit.count_request(UUID(int=6000), 1.0)
    assert len(limit) == 1 + 1 + 1025, "those of the first moment are gone"


def test_the_window_is_the_time_in_which_a_burst_becomes_free() -> None:
    assert [RateLimit(rate, burst).window for rate, burst in ((2.0, 5), (10.0, 5), (1.0, 5))] == [3, 1, 5]
    assert RateLimit(1.0, 5).burst == 5
