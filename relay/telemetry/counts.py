"""What happens to pushes, counted twice: for Prometheus, and by the minute for the console's charts.

Whoever calls this has added up a commit, a settlement or a batch before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from relay.core.delivery.reasons import metric_label
from relay.telemetry import metrics


class Tally:
    """Counts by (outcome, reason) since the last `take()`. See `relay.store.minute_counts.MinuteCount`."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, outcome: str, reason: str, count: int) -> None:
        """So many more of these."""
        if count:
            self._counts[outcome, reason] += count

    def take(self) -> Mapping[tuple[str, str], int]:
        """What was added since the last time."""
        counts, self._counts = self._counts, Counter()
        return counts


TALLY = Tally()
"""That of this process; `relay.heartbeat` writes it down."""


def accepted(pushes: int, kind: str) -> None:
    """So many pushes were accepted. `kind`: "push", "broadcast" or "channel"."""
    metrics.ACCEPTED.labels(kind).inc(pushes)
    TALLY.add("accepted", "", pushes)


def targets(count: int) -> None:
    """Accepted pushes are to reach so many copies."""
    metrics.TARGETS.inc(count)
    TALLY.add("targets", "", count)


def ended(counts: Mapping[tuple[str, str], int]) -> None:
    """So many targets have ended, by (outcome, reason)."""
    for (outcome, reason), count in counts.items():
        label = metric_label(reason)
        metrics.OUTCOMES.labels(outcome, label).inc(count)
        TALLY.add(outcome, label, count)


def retried(counts: Mapping[str, int]) -> None:
    """So many targets are tried again, by reason."""
    for reason, count in counts.items():
        label = metric_label(reason)
        metrics.RETRIES.labels(label).inc(count)
        TALLY.add("retried", label, count)


def retired(counts: Mapping[str, int]) -> None:
    """So many device tokens were retired, by reason."""
    for reason, count in counts.items():
        label = metric_label(reason)
        metrics.RETIREMENTS.labels(label).inc(count)
        TALLY.add("retired", label, count)
