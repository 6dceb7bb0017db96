"""Rows of medians, and their forms: a table for the terminal, JSON lines for programs, Markdown for RESULTS.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass
class Row:
    """One row. `more` holds the figures that only some rows have: p50_ms, peak_rss_mib, runs."""

    row: str
    wall_per_s: float | None = None
    cpu_per_s: float | None = None
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def json(self) -> str:
        """Return the row as a line of JSON."""
        shown: dict[str, Any] = {"row": self.row, "wall_per_s": _whole(self.wall_per_s)}
        shown["cpu_per_s"] = _whole(self.cpu_per_s)
        if self.note:
            shown["note"] = self.note
        return json.dumps(shown | self.more, ensure_ascii=False)

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Return the cells of a table: row, wall, CPU, remarks."""
        known = [(form, self.more[name]) for name, form in _SHOWN.items() if name in self.more]
        remarks = [form.format(value) if form else str(value) for form, value in known]
        remarks += [self.note] if self.note else []
        return self.row, _number(self.wall_per_s), _number(self.cpu_per_s), "; ".join(remarks)


_SHOWN = {
    "version": "",
    "missing": "",
    "p50_ms": "p50 {} ms",
    "p99_ms": "p99 {} ms",
    "peak_rss_mib": "{} MiB",
    "accept_ms": "accepted after {} ms",
    "relay_cpu_s": "relay {} s CPU",
    "postgres_cpu_s": "PostgreSQL {} s CPU",
    "postgres_cpu_us": "PostgreSQL {} µs CPU a push",
    "of": "({})",
    "spread": "{}",
}
"""The fields of `Row.more` that the table shows, and their forms."""


def measured(name: str, walls: Sequence[float], cpus: Sequence[float], **more: Any) -> Row:
    """Return a row of the medians of rates."""
    more |= {"runs": len(walls), "lowest": round(min(walls)), "highest": round(max(walls))}
    more["spread"] = f"{min(walls):,.0f} to {max(walls):,.0f}"
    return Row(name, statistics.median(walls), statistics.median(cpus) if cpus else None, more=more)


def missing(name: str, reason: object) -> Row:
    """Return a row that could not be measured, with the reason."""
    return Row(name, more={"missing": str(reason)})


def show(rows: Iterable[Row], title: str) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for heading, justify in (
        ("row", "left"),
        ("per second, wall", "right"),
        ("per CPU-second", "right"),
        ("", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row.cells)
    wide_console().print(table)


def wide_console() -> Console:
    """Return a console that is wide enough for a table, also where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = 150
    return console


def markdown(rows: Iterable[Row]) -> str:
    """Return the table in Markdown."""
    lines = ["| row | per second, wall | per CPU-second | |", "|---|---:|---:|---|"]
    lines += [f"| {' | '.join(row.cells)} |" for row in rows]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
