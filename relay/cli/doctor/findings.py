"""The findings of an examination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FindingState(StrEnum):
    """The severity of a finding."""

    GOOD = "good"
    WARNING = "warning"
    """It works, but may soon fail."""
    BAD = "bad"
    """Some or all pushes are not sent until it is repaired."""

    @property
    def sign(self) -> str:
        """The sign at the beginning of a line."""
        return {"good": "✓", "warning": "!", "bad": "✗"}[self.value]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `text` gives the state and what to do; `seen` holds the facts, for programs."""

    check: str
    state: FindingState
    text: str
    seen: Mapping[str, Any] = field(default_factory=dict)


def good(check: str, text: str, **seen: Any) -> Finding:
    """Return a finding that needs no action."""
    return Finding(check, FindingState.GOOD, text, seen)


def warning(check: str, text: str, **seen: Any) -> Finding:
    """Return a finding to act on soon."""
    return Finding(check, FindingState.WARNING, text, seen)


def bad(check: str, text: str, **seen: Any) -> Finding:
    """Return a finding to act on now."""
    return Finding(check, FindingState.BAD, text, seen)
