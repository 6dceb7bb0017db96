"""The outcomes of a push as a bar, and the reasons of its failures. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.reasons import ReasonRule, explain

BAR_WIDTH = 1000
"""Units of the drawing, which the page scales."""
_MIN_SEGMENT_WIDTH = 8
"""Units. A single copy among a million stays visible."""
_PENDING = "pending"


class BarSegment(NamedTuple):
    """A part of the bar: an outcome or "pending", its number of copies, and its place in units."""

    name: str
    copies: int
    start: int
    width: int


class ReasonCount(NamedTuple):
    """The number of copies that failed for a reason, with an explanation of it."""

    name: str
    copies: int
    explanation: ReasonRule


def outcome_segments(counts: Mapping[str, int]) -> list[BarSegment]:
    """Return the segments of the outcomes, and of "pending", that occur in `counts`. Together they fill the bar."""
    present = [(name, counts.get(name, 0)) for name in (*Outcome, _PENDING) if counts.get(name, 0) > 0]
    total = sum(count for _, count in present)
    shared_width = BAR_WIDTH - _MIN_SEGMENT_WIDTH * len(present)
    segments: list[BarSegment] = []
    running_total = start = 0
    for number, (name, count) in enumerate(present, start=1):
        running_total += count
        end = _MIN_SEGMENT_WIDTH * number + shared_width * running_total // total
        segments.append(BarSegment(name, count, start, end - start))
        start = end
    return segments


def explain_reasons(counts: Mapping[str, int]) -> list[ReasonCount]:
    """Return the reasons in `counts` with their explanations, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [ReasonCount(name, count, explain(name)) for name, count in ordered if name]
