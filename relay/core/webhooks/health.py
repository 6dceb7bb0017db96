"""How a webhook is doing, and when it is tried again: by message, and for the webhook as a whole.

A message that was not taken waits longer each time, so that one which a receiver can't digest is not in the way of the
others. A receiver that takes nothing is left in peace the same way, and then asked with a single message: it costs
nobody else anything, and its whole queue goes out when it is back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from relay.core.delivery.retry import Backoff
from relay.core.webhooks.messages import Attempt

_GONE = 410
"""The receiver wants nothing any more (Standard Webhooks, "Disable")."""
_LONGEST_PAUSE_SECONDS = 600.0
"""Seconds between two looks at a receiver that takes nothing: then it has not been back for longer than that."""


class Health(NamedTuple):
    """Of a webhook: tries in a row that failed, since when, until when it is left in peace, and whether for good.

    Messages that were sent at the same time are one try.
    """

    failures: int = 0
    failing_since: datetime | None = None
    resume_at: datetime | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """`backoff` of messages; a webhook that has taken nothing for `disable_after` is disabled."""

    backoff: Backoff
    disable_after: timedelta

    def next_health(
        self, health: Health, attempts: Sequence[Attempt], now: datetime, spread: float
    ) -> Health:
        """The health after messages were tried at the same time (one at least)."""
        if any(attempt.delivered for attempt in attempts):
            return Health()
        since = health.failing_since or now
        gone = any(attempt.status == _GONE for attempt in attempts)
        disabled = gone or now - since >= self.disable_after
        pause = min(self.backoff.wait_seconds(health.failures, spread), _LONGEST_PAUSE_SECONDS)
        return Health(health.failures + 1, since, now + timedelta(seconds=pause), disabled)

    def next_due_at(self, attempt: int, now: datetime, spread: float) -> datetime:
        """When a message is tried again after that attempt (0 is the first)."""
        return now + timedelta(seconds=self.backoff.wait_seconds(attempt, spread))
