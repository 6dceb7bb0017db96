"""Counters of the stand-in since its start."""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

import msgspec


class StatisticsDocument(TypedDict):
    """The counters in the control API.

    Attributes:
        rejected: by reason.
        statuses: by HTTP status.
        streams: requests begun.
        resets: requests reset by the client or the stand-in.
        refused: requests above the limit of concurrent streams.
        answers_at_risk: accepted notifications whose 200 may be lost, because of a fault.
        faults: how often a listener's fault struck, by kind.
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
        """Return a copy for JSON."""
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
