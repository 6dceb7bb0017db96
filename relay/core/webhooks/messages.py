"""Webhooks as they go out: what is told of, what a message looks like, how it is signed, where it may go.

A message follows Standard Webhooks 1.0.0 (standardwebhooks.com): the headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`, and a JSON body {"type", "timestamp", "data"}. It is signed with HMAC-SHA256 over
"<id>.<timestamp>.<body>", so a receiver knows whose it is and, by the time, that it is no old one played again.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from relay.core.clock import Random
from relay.core.delivery.outcomes import Outcome
from relay.core.network_addresses import is_public

SECRET_PREFIX = "whsec_"
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
MAX_COPIES = 1000
"""Copies that one message names at most: it has about 140 kB then, of the 256 kB that a receiver must take."""
_SECRET_BYTES = 32
_TOLERANCE = 300
"""Seconds that the time of a message may be off: what Standard Webhooks' libraries allow."""


class EventType(enum.StrEnum):
    """What a publisher can be told of."""

    PUSH_COMPLETED = "push.completed"
    """Nothing of the push is open any more."""
    DELIVERY_FAILED = "delivery.failed"
    """Deliveries of a push ended without success, for another reason than the following."""
    DEVICE_UNREGISTERED = "device.unregistered"
    """Deliveries of a push found that the app is gone from the device."""


TEST = "webhook.test"
"""The type of what is sent to see that it arrives."""

EVENT_OF_OUTCOME: Mapping[str, EventType] = {
    "failed": EventType.DELIVERY_FAILED,
    "expired": EventType.DELIVERY_FAILED,
    "unregistered": EventType.DEVICE_UNREGISTERED,
}
"""What is told of a delivery that ended so. Of the other outcomes nothing is, but for their number at the end."""


# --- messages ---


def message(event: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The body of a message about what happened at that time."""
    return msgspec.json.encode({"type": event, "timestamp": at, "data": data})


def completed_push(
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
        if outcome != "delivered":
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


def ended_deliveries(
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


# --- signatures ---


class SignatureRefused(ValueError):
    """The message is not from who has the secret, or not of now. The text says why."""


def new_secret(random: Random) -> str:
    """A secret: "whsec_" and 32 random bytes in base64, which are the key."""
    return SECRET_PREFIX + base64.b64encode(random(_SECRET_BYTES)).decode()


def signed_headers(secret: str, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The headers of a message that is sent now."""
    timestamp = str(int(now.timestamp()))
    return {
        ID: message_id,
        TIMESTAMP: timestamp,
        SIGNATURE: f"v1,{_signature(secret, message_id, timestamp, body)}",
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """What a receiver checks before it believes a message. Raises SignatureRefused."""
    try:
        message_id, timestamp, signatures = headers[ID], headers[TIMESTAMP], headers[SIGNATURE]
    except KeyError as missing:
        raise SignatureRefused(f"There is no {missing.args[0]} header.") from None
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise SignatureRefused(f"{TIMESTAMP} is not in seconds.")
    if abs(now.timestamp() - int(timestamp)) > _TOLERANCE:
        raise SignatureRefused(f"{TIMESTAMP} is too far from now.")
    wanted = _signature(secret, message_id, timestamp, body).encode()
    given = [one.removeprefix("v1,") for one in signatures.split() if one.startswith("v1,")]
    right = [hmac.compare_digest(wanted, one.encode()) for one in given]  # all, whichever it is
    if True not in right:
        raise SignatureRefused("No signature of the message is right.")


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise SignatureRefused("The secret is not in base64.") from None
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


# --- where to ---


class UrlRefused(ValueError):
    """Nothing is sent to that URL. The text says why."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse what can be seen to be wrong from the URL alone; where a name leads is checked when it is connected to.

    Raises UrlRefused.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlRefused("This is not a URL.") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise UrlRefused("This must be a URL like https://example.com/events.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UrlRefused("The URL must have neither a user, a password nor a fragment.")
    if allow_private:
        return
    if parts.scheme == "http":
        raise UrlRefused("The URL must begin with https (unless webhooks.allow_private is set).")
    is_literal = ":" in host or host.rstrip(".").rpartition(".")[2].isdigit()
    if host.rstrip(".") == "localhost" or (is_literal and not is_public(host)):
        raise UrlRefused("The address is not public (and webhooks.allow_private is not set).")


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
