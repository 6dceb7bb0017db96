"""Charts as numbers: stacked columns over time, laid out for a template that draws them as SVG. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

WIDTH, HEIGHT = 720, 200
"""The drawing's own units: the page scales it."""
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 8, 22
COLOURS = 8
"""So many series have a colour of their own; the last one is for the rest."""
REST = "Other"
_TICKS = 4
_DAY = 86_400


class Part(NamedTuple):
    """A rectangle of one column: `colour` 1 to COLOURS."""

    colour: int
    y: float
    height: float


class Column(NamedTuple):
    """What happened in one step. `title` says it in words."""

    x: float
    width: float
    parts: list[Part]
    title: str


class Tick(NamedTuple):
    """A line or a label at an axis."""

    at: float
    text: str


class LegendEntry(NamedTuple):
    """A series in the legend, with its sum."""

    colour: int
    name: str
    total: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything a template needs to draw."""

    columns: list[Column]
    across: list[Tick]
    down: list[Tick]
    keys: list[LegendEntry]

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return all(key.total == 0 for key in self.keys)


def stacked(
    counts: Mapping[str, Mapping[datetime, int]], since: datetime, until: datetime, step: timedelta
) -> Chart:
    """Columns of the counts by series and time, one each step from `since` on before `until`.

    Series stand on each other in their order. Those beyond COLOURS - 1 are one, "Other". Times are those at which
    steps begin; what begins at another time is not drawn.
    """
    series = _few(counts)
    times = _steps(since, until, step)
    sums = [sum(one.get(at, 0) for one in series.values()) for at in times]
    top, lines = scale(max(sums, default=0))
    high = HEIGHT - TOP - BOTTOM
    wide = (WIDTH - LEFT - RIGHT) / max(1, len(times))
    columns = []
    for index, at in enumerate(times):
        parts, height = [], 0.0
        for colour, one in enumerate(series.values(), 1):
            if count := one.get(at, 0):
                part = high * count / top
                height += part
                parts.append(Part(colour, round(TOP + high - height, 2), round(part, 2)))
        columns.append(Column(round(LEFT + index * wide, 2), round(wide, 2), parts, _title(at, step, series)))
    return Chart(
        columns,
        _times(times, step, wide),
        [Tick(round(TOP + high - high * value / top, 2), short(value)) for value in lines],
        [
            LegendEntry(colour, name, sum(one.values()))
            for colour, (name, one) in enumerate(series.items(), 1)
        ],
    )


def scale(highest: int) -> tuple[int, list[int]]:
    """The top of an axis that holds `highest`, and where its lines are: at 1, 2 or 5 times a power of ten."""
    rough = max(1, highest) / _TICKS
    power = 10 ** max(0, math.floor(math.log10(rough)))
    gap = next(int(power * factor) for factor in (1, 2, 5, 10) if power * factor >= rough)
    top = gap * max(1, math.ceil(highest / gap))
    return top, list(range(0, top + 1, gap))


def short(number: int) -> str:
    """A number for an axis: 1500 is 1.5k."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)


def _few(counts: Mapping[str, Mapping[datetime, int]]) -> dict[str, Mapping[datetime, int]]:
    if len(counts) <= COLOURS:
        return dict(counts)
    kept = [name for name in counts if name != REST][: COLOURS - 1]
    rest: dict[datetime, int] = {}
    for name in counts.keys() - kept:
        for at, count in counts[name].items():
            rest[at] = rest.get(at, 0) + count
    return {name: counts[name] for name in kept} | {REST: rest}


def _steps(since: datetime, until: datetime, step: timedelta) -> list[datetime]:
    return [since + index * step for index in range(math.ceil((until - since) / step))]


def _title(at: datetime, step: timedelta, series: Mapping[str, Mapping[datetime, int]]) -> str:
    said = [f"{name}: {one[at]:,}" for name, one in series.items() if one.get(at)]
    return "\n".join([f"{at:%d %b %H:%M} to {at + step:%H:%M} UTC", *(said or ["nothing"])])


def _times(times: Sequence[datetime], step: timedelta, wide: float) -> list[Tick]:
    """Labels at whole minutes, hours or days, not closer than there is room for."""
    if not times:
        return []
    span = len(times) * step.total_seconds()
    gap = next(gap for gap in (600, 3600, 4 * 3600, _DAY, 7 * _DAY, 10**9) if span / gap <= 7)
    form = "%d %b" if gap >= _DAY else "%H:%M"
    return [
        Tick(round(LEFT + index * wide, 2), f"{at:{form}}")
        for index, at in enumerate(times)
        if int(at.timestamp()) % gap < step.total_seconds() and index < len(times) - 1
    ]
