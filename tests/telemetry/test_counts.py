"""Counts of outcomes by a closed set of reasons, for Prometheus and for the charts."""

from __future__ import annotations

from relay.core.delivery.reasons import OTHER
from relay.telemetry import counts, metrics
from relay.telemetry.counts import Tally


def test_a_tally_gives_each_count_once() -> None:
    tally = Tally()
    tally.add("delivered", "", 3)
    tally.add("failed", "BadTopic", 1)
    tally.add("delivered", "", 4)
    tally.add("retried", "Shutdown", 0)
    assert tally.take_counts() == {("delivered", ""): 7, ("failed", "BadTopic"): 1}
    assert tally.take_counts() == {}


def test_prometheus_counts_unknown_reasons_as_other() -> None:
    before = sample("push_relay_outcomes_total", outcome="failed", reason=OTHER)
    counts.ended({("failed", "MadeUp"): 2, ("failed", "MadeUpToo"): 3})
    assert sample("push_relay_outcomes_total", outcome="failed", reason=OTHER) == before + 5


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0
