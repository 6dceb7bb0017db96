"""Counts of what happens to pushes: for Prometheus, and by the minute for the console's charts.

Callers add up a commit, a settlement or a batch first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from relay.core.delivery.reasons import metric_label
from relay.telemetry import metrics


class Tally:
    """Counts by (outcome, reason) since the last `take_counts()`: see `relay.store.operations.minute_counts`."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, outcome: str, reason: str, count: int) -> None:
        """Add `count` to a counter."""
        if count:
            self._counts[outcome, reason] += count

    def take_counts(self) -> Mapping[tuple[str, str], int]:
        """Return the counts since the last call, and begin again at zero."""
        counts, self._counts = self._counts, Counter()
        return counts


TALLY = Tally()
"""The counts of this process, which `relay.node.heartbeat` writes."""


def accepted(pushes: int, kind: str) -> None:
    """Count accepted pushes. `kind`: "push", "broadcast" or "channel"."""
    metrics.ACCEPTED.labels(kind).inc(pushes)
    TALLY.add("accepted", "", pushes)


def targets(count: int) -> None:
    """Count the targets of accepted pushes."""
    metrics.TARGETS.inc(count)
    TALLY.add("targets", "", count)


def ended(counts: Mapping[tuple[str, str], int]) -> None:
    """Count targets with a final outcome, by (outcome, reason)."""
    for (outcome, reason), count in counts.items():
        label = metric_label(reason)
        metrics.OUTCOMES.labels(outcome, label).inc(count)
        TALLY.add(outcome, label, count)


def retried(counts: Mapping[str, int]) -> None:
    """Count targets that are retried, by reason."""
    for reason, count in counts.items():
        label = metric_label(reason)
        metrics.RETRIES.labels(label).inc(count)
        TALLY.add("retried", label, count)


def retired(counts: Mapping[str, int]) -> None:
    """Count retired device tokens, by reason."""
    for reason, count in counts.items():
        label = metric_label(reason)
        metrics.RETIREMENTS.labels(label).inc(count)
        TALLY.add("retired", label, count)
