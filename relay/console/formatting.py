"""Text for times, durations and numbers on pages."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
"""(unit, seconds), largest first."""


def format_moment(moment: datetime) -> str:
    """Return a time in UTC to the minute: "2026-03-01 12:00 UTC"."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def format_duration(seconds: float) -> str:
    """Return a duration in at most two units: "3 min 20 s"."""
    if not math.isfinite(seconds):
        return "–"
    remaining = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        if remaining >= size:
            parts.append(f"{remaining // size} {unit}")
            remaining %= size
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def format_age(moment: datetime, now: datetime) -> str:
    """Return the distance of `moment` from `now` in one unit: "3 min ago", "in 2 d"."""
    seconds = (now - moment).total_seconds()
    for unit, size in _UNITS[:-1]:
        if abs(seconds) >= size:
            distance = f"{int(abs(seconds)) // size} {unit}"
            return f"{distance} ago" if seconds > 0 else f"in {distance}"
    return "just now" if seconds >= 0 else "in a moment"


def format_number(number: float) -> str:
    """Return a number with narrow spaces between its thousands."""
    return f"{number:,}".replace(",", "\u202f")


def pluralise(count: int, singular: str, plural: str) -> str:
    """Return the count with the noun that fits it: "1 copy", "2 copies"."""
    return f"{count} {singular if count == 1 else plural}"
