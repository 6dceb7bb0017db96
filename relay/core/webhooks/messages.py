"""Webhooks as they go out: what is told of, what a message looks like, how it is signed, where it may go.

A message follows Standard Webhooks 1.0.0 (standardwebhooks.com): the headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`, and a JSON body {"type", "timestamp", "data"}. It is signed with HMAC-SHA256 over
"<id>.<timestamp>.<body>", so a receiver knows whose it is and, by the time, that it is no old one played again.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from relay.core.delivery.outcomes import Outcome

MAX_COPIES = 1000
"""Copies that one message names at most: it has about 140 kB then, of the 256 kB that a receiver must take."""


class EventType(enum.StrEnum):
    """What a publisher can be told of."""

    PUSH_COMPLETED = "push.completed"
    """Nothing of the push is open any more."""
    DELIVERY_FAILED = "delivery.failed"
    """Deliveries of a push ended without success, for another reason than the following."""
    DEVICE_UNREGISTERED = "device.unregistered"
    """Deliveries of a push found that the app is gone from the device."""


TEST_EVENT = "webhook.test"
"""The type of what is sent to see that it arrives."""

EVENT_OF_OUTCOME: Mapping[str, EventType] = {
    Outcome.FAILED: EventType.DELIVERY_FAILED,
    Outcome.EXPIRED: EventType.DELIVERY_FAILED,
    Outcome.UNREGISTERED: EventType.DEVICE_UNREGISTERED,
}
"""What is told of a delivery that ended so. Of the other outcomes nothing is, but for their number at the end."""


def encode_message(event: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The body of a message about what happened at that time."""
    return msgspec.json.encode({"type": event, "timestamp": at, "data": data})


def completed_push_data(
    app_id: str,
    push_id: UUID,
    accepted_at: datetime,
    targets: int,
    skipped: int,
    ended: Iterable[tuple[str, str, int]],
) -> dict[str, Any]:
    """The data of `push.completed`, as `GET /v1.0/pushes/{push_id}/` has it. `ended`: (outcome, reason, count)."""
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
    """A copy of an app as its publisher knows it: c_, d_, and which of several on the device."""

    customer: str
    device: str
    alongside: str


def ended_deliveries_data(
    app_id: str, push_id: UUID, outcome: str, status: int, reason: str, copies: Iterable[CopyName]
) -> dict[str, Any]:
    """The data of `delivery.failed` and `device.unregistered`: up to MAX_COPIES that ended alike."""
    return {
        "app_id": app_id,
        "push_id": push_id,
        "outcome": outcome,
        "status": status or None,
        "reason": reason or None,
        "copies": [copy._asdict() for copy in copies],
    }


class Attempt(NamedTuple):
    """What became of a message that was sent: the status of the answer, or None and why there is none."""

    status: int | None
    error: str = ""

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it (2xx)."""
        return self.status is not None and 200 <= self.status < 300


class Receivers(Protocol):
    """The publishers' servers, as far as the rest of the relay knows them."""

    async def send(self, url: str, secret: str, message_id: str, body: bytes, now: datetime) -> Attempt:
        """Sign a message and send it once. Never raises; `error` is a sentence."""
