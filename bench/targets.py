"""The figures to reach, and a verdict on each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rich.table import Table

from bench.neighbours import BESIDE
from bench.table import Row, wide_console

Rows = dict[str, Row]
Value = Callable[[Rows], float | None]


class BenchVerdict(NamedTuple):
    """A figure to reach, the one measured, and whether it is reached; None if it was not measured."""

    target: str
    measured: str
    reached: bool | None


class _Target(NamedTuple):
    name: str
    needed: float
    value: Value
    at_most: bool = False
    unit: str = ""


_OURS = "ours, batches of 1,000"
_GO = "Go sideshow/apns2"
_SINGLE = "single-destination sends, 64 connections"
_HALF = "POST to arrival at half load"
_MILLION = "fan-out of a broadcast to 1,000,000"


def _wall(name: str) -> Value:
    return lambda rows: rows[name].wall_per_s if name in rows else None


def _cpu(name: str) -> Value:
    return lambda rows: rows[name].cpu_per_s if name in rows else None


def _ratio(numerator: Value, denominator: Value) -> Value:
    def value(rows: Rows) -> float | None:
        above, below = numerator(rows), denominator(rows)
        return above / below if above and below else None

    return value


def _better(*values: Value) -> Value:
    return lambda rows: max((figure for value in values if (figure := value(rows))), default=None)


def _more(name: str, key: str) -> Value:
    return lambda rows: rows[name].more.get(key) if name in rows else None


_TARGETS: Sequence[_Target] = (
    _Target("sender, per CPU-second, against Go apns2", 5, _ratio(_cpu(_OURS), _cpu(_GO)), unit=" ×"),
    _Target(
        "sender, per CPU-second, against stock aioapns",
        25,
        _ratio(_cpu(_OURS), _cpu("stock aioapns")),
        unit=" ×",
    ),
    _Target("sender, wall, against h2load", 0.8, _ratio(_wall(_OURS), _wall("h2load, the limit")), unit=" ×"),
    _Target(
        "fan-out to 1 M, wall, against bare Go apns2",
        2,
        _ratio(_wall(_MILLION), _better(_wall(_GO), _wall(f"{_GO}, 2 connections"))),
        unit=" ×",
    ),
    _Target("fan-out to 1 M, per second", 60_000, _wall(_MILLION)),
    _Target(
        "fan-out rate at 1 M against 10 k",
        0.9,
        _ratio(_wall(_MILLION), _wall("fan-out of a broadcast to 10,000")),
        unit=" ×",
    ),
    _Target("relay, peak RSS", 250, _more("relay, peak RSS", "peak_rss_mib"), at_most=True, unit=" MiB"),
    _Target("single-destination sends, per second", 8_000, _wall(_SINGLE)),
    _Target("accept alone, per second", 15_000, _wall("accept alone, 64 connections")),
    _Target("POST to arrival at half load, p50", 10, _more(_HALF, "p50_ms"), at_most=True, unit=" ms"),
    _Target("POST to arrival at half load, p99", 60, _more(_HALF, "p99_ms"), at_most=True, unit=" ms"),
    _Target(
        "POST to arrival beside bad neighbours, p99",
        1000,
        _more(BESIDE, "p99_ms"),
        at_most=True,
        unit=" ms",
    ),
)


def compare_with_targets(rows: Iterable[Row]) -> list[BenchVerdict]:
    """Return a verdict on each target."""
    by_name = {row.row: row for row in rows}
    verdicts = []
    for target in _TARGETS:
        value = target.value(by_name)
        reached = (
            None if value is None else (value <= target.needed) == target.at_most or value == target.needed
        )
        shown = "not measured" if value is None else f"{_figure(value)}{target.unit}"
        bound = "at most" if target.at_most else "at least"
        verdicts.append(
            BenchVerdict(f"{target.name}: {bound} {target.needed:,g}{target.unit}", shown, reached)
        )
    return verdicts


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def show_targets(verdicts: Iterable[BenchVerdict]) -> None:
    """Print which figures are reached."""
    table = Table(title="The figures to reach", title_justify="left")
    table.add_column("target")
    table.add_column("measured", justify="right")
    table.add_column("")
    for verdict in verdicts:
        table.add_row(
            verdict.target,
            verdict.measured,
            {True: "reached", False: "not reached", None: "–"}[verdict.reached],
        )
    wide_console().print(table)
