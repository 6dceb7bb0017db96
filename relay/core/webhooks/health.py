"""Webhook health: failure streak, pause and disabling, and retry times per message.

A message that the receiver did not accept waits longer after each attempt, so that it does not block other messages. A
receiver that accepts nothing is paused in that way too and then probed with a single message; when it accepts one, its
whole queue is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from relay.core.delivery.retry import Backoff
from relay.core.webhooks.messages import Attempt

_GONE_STATUS = 410
"""The answer of a receiver that unsubscribes (Standard Webhooks, "Disable")."""
_LONGEST_PAUSE_SECONDS = 600.0
"""The longest pause of a failing receiver, and so the longest time until its recovery is noticed."""


class Health(NamedTuple):
    """The health of a webhook: failed tries in a row, since when, the end of its pause, and whether it is disabled.

    Messages that were sent together are one try.
    """

    failures: int = 0
    failing_since: datetime | None = None
    resume_at: datetime | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """The rule of retries: `backoff` of messages; a webhook that fails for `disable_after` is disabled."""

    backoff: Backoff
    disable_after: timedelta

    def next_health(
        self, health: Health, attempts: Sequence[Attempt], now: datetime, spread: float
    ) -> Health:
        """Return the health after `attempts` (at least one) of messages that were sent together."""
        if any(attempt.delivered for attempt in attempts):
            return Health()
        since = health.failing_since or now
        gone = any(attempt.status == _GONE_STATUS for attempt in attempts)
        disabled = gone or now - since >= self.disable_after
        pause = min(self.backoff.wait_seconds(health.failures, spread), _LONGEST_PAUSE_SECONDS)
        return Health(health.failures + 1, since, now + timedelta(seconds=pause), disabled)

    def next_due_at(self, attempt: int, now: datetime, spread: float) -> datetime:
        """Return the time at which a message is retried after `attempt` (0 is the first)."""
        return now + timedelta(seconds=self.backoff.wait_seconds(attempt, spread))
