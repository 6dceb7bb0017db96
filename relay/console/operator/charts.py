"""The layout of stacked column charts, which a template draws as SVG. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

WIDTH, HEIGHT = 720, 200
"""Units of the drawing, which the page scales."""
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 8, 22
"""Margins in units."""
COLOURS = 8
"""Series with a colour of their own; further series share the last colour."""
REST = "Other"
_VALUE_LINES = 4
"""Lines that the value axis aims for."""
_MAX_TIME_LABELS = 7
_DAY_SECONDS = 86_400
_LABEL_GAPS_SECONDS = (600, 3600, 4 * 3600, _DAY_SECONDS, 7 * _DAY_SECONDS, 10**9)
"""Distances between labels of the time axis to choose from."""


class ColumnPart(NamedTuple):
    """A rectangle of a column: its colour from 1 to COLOURS, its top and its height in units."""

    colour: int
    y: float
    height: float


class Column(NamedTuple):
    """The counts of one step. `title` states them in words."""

    x: float
    width: float
    parts: list[ColumnPart]
    title: str


class Tick(NamedTuple):
    """A label of an axis and its position in units."""

    at: float
    text: str


class LegendEntry(NamedTuple):
    """A series in the legend with its sum."""

    colour: int
    name: str
    total: int


@dataclass(frozen=True, slots=True)
class Chart:
    """The parts of a chart: columns, the labels of the time axis and the value axis, and the legend."""

    columns: list[Column]
    time_ticks: list[Tick]
    value_ticks: list[Tick]
    legend: list[LegendEntry]

    @property
    def is_empty(self) -> bool:
        """True if all counts are zero."""
        return all(entry.total == 0 for entry in self.legend)


def stack_columns(
    counts: Mapping[str, Mapping[datetime, int]], since: datetime, until: datetime, step: timedelta
) -> Chart:
    """Lay out counts by series and time as one column per step from `since` to `until`, excluding `until`.

    Series are stacked in their order. Those beyond COLOURS - 1 are merged into "Other". Keys of the inner mappings are
    starts of steps; other times are not drawn.
    """
    series = _merge_rest(counts)
    times = [since + index * step for index in range(math.ceil((until - since) / step))]
    sums = [sum(count_at.get(at, 0) for count_at in series.values()) for at in times]
    axis_top, line_values = scale_axis(max(sums, default=0))
    plot_height = HEIGHT - TOP - BOTTOM
    column_width = (WIDTH - LEFT - RIGHT) / max(1, len(times))
    columns = []
    for index, at in enumerate(times):
        parts, stacked_height = [], 0.0
        for colour, count_at in enumerate(series.values(), 1):
            if count := count_at.get(at, 0):
                height = plot_height * count / axis_top
                stacked_height += height
                parts.append(
                    ColumnPart(colour, round(TOP + plot_height - stacked_height, 2), round(height, 2))
                )
        title = _column_title(at, step, series)
        columns.append(Column(round(LEFT + index * column_width, 2), round(column_width, 2), parts, title))
    return Chart(
        columns,
        _time_ticks(times, step, column_width),
        [
            Tick(round(TOP + plot_height - plot_height * value / axis_top, 2), abbreviate(value))
            for value in line_values
        ],
        [
            LegendEntry(colour, name, sum(count_at.values()))
            for colour, (name, count_at) in enumerate(series.items(), 1)
        ],
    )


def scale_axis(highest: int) -> tuple[int, list[int]]:
    """Return the top of an axis that holds `highest`, and the values of its lines.

    Lines stand at multiples of 1, 2 or 5 times a power of ten.
    """
    rough_gap = max(1, highest) / _VALUE_LINES
    power = 10 ** max(0, math.floor(math.log10(rough_gap)))
    gap = next(int(power * factor) for factor in (1, 2, 5, 10) if power * factor >= rough_gap)
    axis_top = gap * max(1, math.ceil(highest / gap))
    return axis_top, list(range(0, axis_top + 1, gap))


def abbreviate(number: int) -> str:
    """Return a number with a metric suffix: 1500 is "1.5k"."""
    for size, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:g}{suffix}"
    return str(number)


def _merge_rest(counts: Mapping[str, Mapping[datetime, int]]) -> dict[str, Mapping[datetime, int]]:
    """Return at most COLOURS series; those that have no colour of their own are merged into "Other"."""
    if len(counts) <= COLOURS:
        return dict(counts)
    shown_names = [name for name in counts if name != REST][: COLOURS - 1]
    rest: dict[datetime, int] = {}
    for name in counts.keys() - shown_names:
        for at, count in counts[name].items():
            rest[at] = rest.get(at, 0) + count
    return {name: counts[name] for name in shown_names} | {REST: rest}


def _column_title(at: datetime, step: timedelta, series: Mapping[str, Mapping[datetime, int]]) -> str:
    lines = [f"{name}: {count_at[at]:,}" for name, count_at in series.items() if count_at.get(at)]
    return "\n".join([f"{at:%d %b %H:%M} to {at + step:%H:%M} UTC", *(lines or ["nothing"])])


def _time_ticks(times: Sequence[datetime], step: timedelta, column_width: float) -> list[Tick]:
    """Return labels at whole minutes, hours or days, as many as there is room for."""
    if not times:
        return []
    span_seconds = len(times) * step.total_seconds()
    gap = next(gap for gap in _LABEL_GAPS_SECONDS if span_seconds / gap <= _MAX_TIME_LABELS)
    time_format = "%d %b" if gap >= _DAY_SECONDS else "%H:%M"
    return [
        Tick(round(LEFT + index * column_width, 2), f"{at:{time_format}}")
        for index, at in enumerate(times)
        if int(at.timestamp()) % gap < step.total_seconds() and index < len(times) - 1
    ]
