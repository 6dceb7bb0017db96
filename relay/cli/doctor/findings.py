"""What an examination finds: one thing that was looked at, how it is, and what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FindingState(StrEnum):
    """How a thing is."""

    GOOD = "good"
    WARNING = "warning"
    """It works, and may not for long."""
    BAD = "bad"
    """Pushes are not sent, or not all of them, until somebody mends it."""

    @property
    def sign(self) -> str:
        """How a line begins."""
        return {"good": "✓", "warning": "!", "bad": "✗"}[self.value]


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` names what was looked at, `text` says how it is and what to do; `seen` is the same for programs."""

    check: str
    state: FindingState
    text: str
    seen: Mapping[str, Any] = field(default_factory=dict)


def good(check: str, text: str, **seen: Any) -> Finding:
    """A finding that nobody need act on."""
    return Finding(check, FindingState.GOOD, text, seen)


def warning(check: str, text: str, **seen: Any) -> Finding:
    """A finding to look at soon."""
    return Finding(check, FindingState.WARNING, text, seen)


def bad(check: str, text: str, **seen: Any) -> Finding:
    """A finding to act on."""
    return Finding(check, FindingState.BAD, text, seen)
