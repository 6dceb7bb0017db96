"""Rows, medians, and how they are shown: a table for people, JSON lines for programs, Markdown for RESULTS.md."""

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
    """One row. `more` holds what only some rows have: p50_ms, peak_rss_mib, the runs, notes."""

    row: str
    wall_per_s: float | None = None
    cpu_per_s: float | None = None
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def json(self) -> str:
        """As a line of JSON."""
        shown: dict[str, Any] = {"row": self.row, "wall_per_s": _whole(self.wall_per_s)}
        shown["cpu_per_s"] = _whole(self.cpu_per_s)
        if self.note:
            shown["note"] = self.note
        return json.dumps(shown | self.more, ensure_ascii=False)

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """For a table: row, wall, CPU, remarks."""
        remarks = [f"{name} {value}" for name, value in self.more.items() if name in _SHOWN]
        return self.row, _number(self.wall_per_s), _number(self.cpu_per_s), "; ".join([*remarks, self.note]).strip("; ")


_SHOWN = ("version", "p50_ms", "p99_ms", "peak_rss_mib", "lowest", "highest", "postgres_cpu_s", "relay_cpu_s", "missing")


def measured(name: str, walls: Sequence[float], cpus: Sequence[float], **more: Any) -> Row:
    """A row of medians of rates."""
    more |= {"runs": len(walls), "lowest": round(min(walls)), "highest": round(max(walls))}
    return Row(name, statistics.median(walls), statistics.median(cpus) if cpus else None, more=more)


def missing(name: str, why: object) -> Row:
    """A row of something that is not here."""
    return Row(name, more={"missing": str(why)})


def show(rows: Iterable[Row], title: str) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for heading, justify in (("row", "left"), ("per second, wall", "right"), ("per CPU-second", "right"), ("", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row.cells)
    console = Console()
    if not console.is_terminal:
        console.width = 150
    console.print(table)


def markdown(rows: Iterable[Row]) -> str:
    """The table in Markdown."""
    lines = ["| row | per second, wall | per CPU-second | |", "|---|---:|---:|---|"]
    lines += [f"| {' | '.join(row.cells)} |" for row in rows]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
