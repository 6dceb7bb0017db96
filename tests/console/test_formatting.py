"""Text for times, durations and numbers."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from relay.console.formatting import format_age, format_duration, format_moment, format_number, pluralise

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_moment_is_in_utc() -> None:
    assert format_moment(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-03-01 12:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90_061, "1 d 1 h"),
        (86_400 + 120, "1 d"),
        (math.inf, "–"),
    ],
)
def test_a_duration_has_at_most_two_adjacent_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (61, "1 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
        (-30, "in a moment"),
        (-61, "in 1 min"),
    ],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert format_age(NOW - timedelta(seconds=seconds), NOW) == text


def test_numbers() -> None:
    assert format_number(1_234_567) == "1\u202f234\u202f567"
    assert [pluralise(count, "copy", "copies") for count in (0, 1, 2)] == ["0 copies", "1 copy", "2 copies"]
