"""Counters of what the stand-in did since it started."""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

import msgspec


class StatisticsDocument(TypedDict):
    """The counters as the control API gives them.

    `rejected` counts by reason, `statuses` by HTTP status; `streams` are requests begun, `resets` those the
    client or the stand-in broke off, `refused` those above the limit of concurrent streams. `answers_at_risk` are
    accepted notifications whose 200 may never have arrived, because a fault lost it or cut its connection. `faults`
    counts by kind how often a listener's fault struck.
    """

    accepted: int
    rejected: dict[str, int]
    statuses: dict[str, int]
    connections: int
    open_connections: int
    streams: int
    open_streams: int
    resets: int
    refused: int
    protocol_errors: int
    answers_at_risk: int
    faults: dict[str, int]


class Statistics(msgspec.Struct):
    """The counters; see `StatisticsDocument`."""

    accepted: int = 0
    rejected: Counter[str] = msgspec.field(default_factory=Counter)
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    connections: int = 0
    open_connections: int = 0
    streams: int = 0
    open_streams: int = 0
    resets: int = 0
    refused: int = 0
    protocol_errors: int = 0
    answers_at_risk: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)

    def document(self) -> StatisticsDocument:
        """A copy, ready for JSON."""
        return {
            "accepted": self.accepted,
            "rejected": dict(self.rejected),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "connections": self.connections,
            "open_connections": self.open_connections,
            "streams": self.streams,
            "open_streams": self.open_streams,
            "resets": self.resets,
            "refused": self.refused,
            "protocol_errors": self.protocol_errors,
            "answers_at_risk": self.answers_at_risk,
            "faults": dict(self.faults),
        }
