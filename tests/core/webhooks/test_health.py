"""Webhook health: retries, pauses and disabling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from relay.core.delivery.retry import Backoff
from relay.core.webhooks.health import Health, Patience
from relay.core.webhooks.messages import Attempt

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TAKEN, FAILED, GONE, SILENT = Attempt(204), Attempt(500), Attempt(410), Attempt(None, "no answer")
PATIENCE = Patience(Backoff(5, 3600), timedelta(days=3))


def test_an_accepted_message_resets_the_health() -> None:
    ill = Health(7, NOW - timedelta(days=2), NOW)
    assert PATIENCE.next_health(ill, [FAILED, TAKEN, SILENT], NOW, 0.5) == Health()


def test_the_pause_of_a_failing_webhook_grows() -> None:
    health, now, pauses = Health(), NOW, []
    for _ in range(12):
        health = PATIENCE.next_health(health, [SILENT], now, 1.0)
        assert health.resume_at is not None
        pauses.append((health.resume_at - now).total_seconds())
        now = health.resume_at
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600]
    assert (health.failures, health.failing_since, health.disabled) == (12, NOW, False)


def test_messages_that_were_sent_together_are_one_try() -> None:
    health = PATIENCE.next_health(Health(), [FAILED] * 8, NOW, 1.0)
    assert (health.failures, health.resume_at) == (1, NOW + timedelta(seconds=5))


def test_after_days_it_is_disabled() -> None:
    since = Health(100, NOW, NOW)
    assert not PATIENCE.next_health(since, [FAILED], NOW + timedelta(days=2.9), 0).disabled
    assert PATIENCE.next_health(since, [FAILED], NOW + timedelta(days=3), 0).disabled


def test_a_410_disables_a_webhook_at_once() -> None:
    assert PATIENCE.next_health(Health(), [GONE], NOW, 0).disabled


@given(st.integers(0, 1000), st.floats(0, 1))
def test_a_message_waits_longer_each_time_up_to_an_hour(attempt: int, spread: float) -> None:
    wait = (PATIENCE.next_due_at(attempt, NOW, spread) - NOW).total_seconds()
    assert min(5 * 2.0 ** min(attempt, 30), 3600) / 2 <= wait <= min(5 * 2.0 ** min(attempt, 30), 3600)


def test_a_webhook_begins_well() -> None:
    assert Health() == (0, None, None, False)


def test_a_webhook_that_fails_for_the_first_time_may_be_disabled_only_later() -> None:
    health = PATIENCE.next_health(Health(), [FAILED, SILENT], NOW, 0.5)
    assert health == (1, NOW, NOW + timedelta(seconds=3.75), False)
