"""The bar of outcomes, and the order of reasons."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.console.publisher.outcome_bar import BAR_WIDTH, explain_reasons, outcome_segments
from relay.core.delivery.outcomes import Outcome

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a busy machine a single example may take long."""


@UNTIMED
@given(st.dictionaries(st.sampled_from([*Outcome, "pending", "skipped"]), st.integers(0, 10**7)))
def test_segments_fill_the_bar_and_show_every_outcome(counts: dict[str, int]) -> None:
    segments = outcome_segments(counts)
    expected_names = {name for name, count in counts.items() if count and name != "skipped"}
    assert {segment.name for segment in segments} == expected_names
    assert sum(segment.width for segment in segments) == (BAR_WIDTH if segments else 0)
    position = 0
    for segment in segments:
        assert segment.start == position
        assert segment.width > 0
        position += segment.width


def test_the_most_frequent_reason_comes_first() -> None:
    reasons = explain_reasons({"Shutdown": 1, "Unregistered": 7, "": 3})
    assert [reason.name for reason in reasons] == ["Unregistered", "Shutdown"]
