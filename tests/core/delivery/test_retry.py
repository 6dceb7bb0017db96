"""The due times of retries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.delivery.reasons import ReasonAction
from relay.core.delivery.retry import SOON_SECONDS, Backoff, next_attempt

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
BACKOFF = Backoff(first_seconds=4.0, longest_seconds=900.0)
spreads = st.floats(0, 1)


@given(st.integers(0, 32_767), spreads)
def test_the_wait_is_bounded_and_at_least_half_of_its_step(attempt: int, spread: float) -> None:
    step = min(900.0, 4.0 * 2.0 ** min(attempt, 30))
    assert step / 2 <= BACKOFF.wait_seconds(attempt, spread) <= step


@given(spreads)
def test_the_wait_grows_until_the_longest(spread: float) -> None:
    waits = [BACKOFF.wait_seconds(attempt, spread) for attempt in range(12)]
    assert waits == sorted(waits)
    assert waits[-1] == waits[-2] == 450 + 450 * spread


@given(
    st.sampled_from([ReasonAction.RETRY, ReasonAction.RETRY_SOON]),
    st.integers(0, 40),
    st.floats(0, 2000),
    spreads,
)
def test_a_retry_beyond_the_expiration_is_dropped(
    action: ReasonAction, attempt: int, seconds: float, spread: float
) -> None:
    expires_at = NOW + timedelta(seconds=seconds)
    due = next_attempt(action, attempt, NOW, expires_at, BACKOFF, spread)
    assert due is None or NOW <= due < expires_at


def test_a_passing_fault_is_tried_again_at_once_but_only_once() -> None:
    assert next_attempt(ReasonAction.RETRY_SOON, 0, NOW, LATER, BACKOFF, 1.0) == NOW + timedelta(
        seconds=SOON_SECONDS
    )
    assert next_attempt(ReasonAction.RETRY_SOON, 1, NOW, LATER, BACKOFF, 1.0) == NOW + timedelta(seconds=8)
    assert next_attempt(ReasonAction.RETRY, 0, NOW, LATER, BACKOFF, 1.0) == NOW + timedelta(seconds=4)


def test_the_step_doubles_thirty_times_at_most() -> None:
    backoff = Backoff(first_seconds=1.0, longest_seconds=2.0**40)
    assert [backoff.wait_seconds(attempt, 1.0) for attempt in (29, 30, 31)] == [2.0**29, 2.0**30, 2.0**30]


@pytest.mark.parametrize(("attempt", "spread", "seconds"), [(0, 0.0, 2.0), (0, 0.5, 3.0), (3, 0.25, 20.0)])
def test_the_wait_is_spread_over_the_upper_half_of_its_step(
    attempt: int, spread: float, seconds: float
) -> None:
    assert BACKOFF.wait_seconds(attempt, spread) == seconds


def test_a_retry_that_is_due_when_the_push_expires_is_dropped() -> None:
    due = NOW + timedelta(seconds=4)
    assert next_attempt(ReasonAction.RETRY, 0, NOW, due + timedelta(microseconds=1), BACKOFF, 1.0) == due
    assert next_attempt(ReasonAction.RETRY, 0, NOW, due, BACKOFF, 1.0) is None
