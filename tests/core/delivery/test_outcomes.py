"""The stored and shown words of outcomes, states and failure domains."""

from __future__ import annotations

from relay.core.delivery.outcomes import FailureDomain, Outcome, PushState


def test_the_words_are_those_of_the_database_and_the_api() -> None:
    assert list(Outcome) == ["delivered", "failed", "unregistered", "expired", "cancelled"]
    assert list(PushState) == ["queued", "sending", "done", "cancelled"]
    domains = ["ok", "unregistered", "bad_device_token", "throttled", "unavailable", "slow"]
    assert list(FailureDomain) == domains
