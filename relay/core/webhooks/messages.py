"""Messages of webhooks: their events, their bodies, and the port that sends them.

A message follows Standard Webhooks 1.0.0 (standardwebhooks.com): a JSON body {"type", "timestamp", "data"}, with the
headers of `signatures`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from relay.core.delivery.outcomes import Outcome
from relay.core.ids import AppId, PushId

MAX_COPIES = 1000
"""The largest number of copies in one message: about 140 kB, of the 256 kB that a receiver must accept."""


class EventType(enum.StrEnum):
    """The events that a webhook can subscribe to."""

    PUSH_COMPLETED = "push.completed"
    """Every delivery of the push has ended."""
    DELIVERY_FAILED = "delivery.failed"
    """Deliveries of a push failed or expired."""
    DEVICE_UNREGISTERED = "device.unregistered"
    """Deliveries of a push found that the app is gone from the device."""


TEST_EVENT = "webhook.test"
"""The type of test messages."""

EVENT_OF_OUTCOME: Mapping[str, EventType] = {
    Outcome.FAILED: EventType.DELIVERY_FAILED,
    Outcome.EXPIRED: EventType.DELIVERY_FAILED,
    Outcome.UNREGISTERED: EventType.DEVICE_UNREGISTERED,
}
"""Outcome of deliveries -> the event that reports them. Other outcomes are only counted in `push.completed`."""


def encode_message(event: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """Return the body of a message about an event at `at`."""
    return msgspec.json.encode({"type": event, "timestamp": at, "data": data})


def completed_push_data(
    app_id: AppId,
    push_id: PushId,
    accepted_at: datetime,
    targets: int,
    skipped: int,
    ended: Iterable[tuple[str, str, int]],
) -> dict[str, Any]:
    """Return the data of `push.completed`, as in `GET /v1.0/pushes/{push_id}/`. `ended`: (outcome, reason, count)."""
    counts, reasons = Counter[str](dict.fromkeys(Outcome, 0)), Counter[str]()
    for outcome, reason, count in ended:
        counts[outcome] += count
        if outcome != Outcome.DELIVERED:
            reasons[reason] += count
    return {
        "app_id": app_id,
        "push_id": push_id,
        "created_at": accepted_at,
        "targets": targets,
        "counts": {**counts, "skipped": skipped},
        "reasons": dict(reasons),
    }


class CopyName(NamedTuple):
    """An installation as its publisher knows it: c_, d_, and `alongside` for one of several on the device."""

    customer: str
    device: str
    alongside: str


def ended_deliveries_data(
    app_id: AppId, push_id: PushId, outcome: str, status: int, reason: str, copies: Iterable[CopyName]
) -> dict[str, Any]:
    """Return the data of `delivery.failed` and `device.unregistered`: up to MAX_COPIES that ended alike."""
    return {
        "app_id": app_id,
        "push_id": push_id,
        "outcome": outcome,
        "status": status or None,
        "reason": reason or None,
        "copies": [copy._asdict() for copy in copies],
    }


class Attempt(NamedTuple):
    """The result of sending a message: the status of the answer, or None and the error."""

    status: int | None
    error: str = ""

    @property
    def delivered(self) -> bool:
        """Tell whether the receiver accepted the message (2xx)."""
        return self.status is not None and 200 <= self.status < 300


class Receivers(Protocol):
    """The port to the publishers' servers."""

    async def send(self, url: str, secret: str, message_id: str, body: bytes, now: datetime) -> Attempt:
        """Sign a message and send it once. Never raises; `error` is a sentence."""
