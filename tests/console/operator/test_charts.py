"""Charts: stacked columns inside the drawing, and axes with round numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.console.operator.charts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    abbreviate,
    scale_axis,
    stack_columns,
)

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
UNTIL = SINCE + 10 * MINUTE
TIMES = [SINCE + index * MINUTE for index in range(10)]


def test_columns_are_stacked() -> None:
    chart = stack_columns(
        {"Delivered": {SINCE: 30}, "Failed": {SINCE: 10, TIMES[3]: 40}}, SINCE, UNTIL, MINUTE
    )
    assert len(chart.columns) == 10
    below, above = chart.columns[0].parts
    assert (below.colour, above.colour) == (1, 2)
    assert below.y + below.height == pytest.approx(HEIGHT - BOTTOM)
    assert above.y + above.height == pytest.approx(below.y)
    assert above.y == pytest.approx(chart.columns[3].parts[0].y)
    assert [(entry.name, entry.total) for entry in chart.legend] == [("Delivered", 30), ("Failed", 50)]


def test_the_title_of_a_column_states_its_counts() -> None:
    chart = stack_columns({"Delivered": {SINCE: 1234}, "Failed": {}}, SINCE, UNTIL, MINUTE)
    assert chart.columns[0].title == "01 Mar 12:00 to 12:01 UTC\nDelivered: 1,234"
    assert chart.columns[1].title.endswith("nothing")


def test_a_chart_without_counts_is_empty() -> None:
    assert stack_columns({}, SINCE, UNTIL, MINUTE).is_empty
    assert stack_columns({"Failed": {}}, SINCE, UNTIL, MINUTE).is_empty


def test_many_series_share_the_last_colour() -> None:
    counts = {f"reason {number}": {SINCE: 1} for number in range(12)}
    chart = stack_columns(counts, SINCE, UNTIL, MINUTE)
    assert [entry.name for entry in chart.legend][-1] == "Other"
    assert len(chart.legend) == COLOURS
    assert chart.legend[-1].total == 12 - COLOURS + 1


COUNTS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.dictionaries(st.sampled_from(TIMES), st.integers(0, 10**9)),
    max_size=12,
)


@given(COUNTS)
def test_every_part_is_inside_the_drawing_and_counted(counts: dict[str, dict[datetime, int]]) -> None:
    chart = stack_columns(counts, SINCE, UNTIL, MINUTE)
    for column in chart.columns:
        assert column.x >= LEFT
        assert column.x + column.width <= WIDTH - RIGHT + 0.1
        for part in column.parts:
            assert part.y >= TOP - 0.1
            assert part.y + part.height <= HEIGHT - BOTTOM + 0.1
    assert sum(entry.total for entry in chart.legend) == sum(
        sum(count_at.values()) for count_at in counts.values()
    )


@given(st.integers(0, 10**12))
def test_an_axis_has_few_lines_at_round_values(highest: int) -> None:
    top, lines = scale_axis(highest)
    assert top >= max(1, highest)
    assert 2 <= len(lines) <= 6
    assert lines[0] == 0
    assert lines[-1] == top
    assert str(lines[1]).rstrip("0") in ("1", "2", "5")


@pytest.mark.parametrize(
    ("length", "step", "labels"),
    [
        (timedelta(hours=1), MINUTE, "12:10"),
        (timedelta(hours=24), timedelta(minutes=15), "16:00"),
        (timedelta(days=7), timedelta(hours=2), "02 Mar"),
    ],
)
def test_time_labels_stand_at_whole_hours_and_days(length: timedelta, step: timedelta, labels: str) -> None:
    chart = stack_columns({}, SINCE, SINCE + length, step)
    assert labels in [tick.text for tick in chart.time_ticks]
    assert len(chart.time_ticks) <= 8


def test_abbreviated_numbers() -> None:
    assert [abbreviate(number) for number in (0, 999, 1500, 20_000, 3_000_000)] == [
        "0",
        "999",
        "1.5k",
        "20k",
        "3M",
    ]
