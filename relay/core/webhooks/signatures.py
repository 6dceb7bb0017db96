"""Signatures of webhook messages, after Standard Webhooks 1.0.0 (standardwebhooks.com).

A message is signed with HMAC-SHA256 over "<id>.<timestamp>.<body>". The signature proves the sender; the timestamp
keeps an old message from being replayed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

from relay.core.clock import Random

SECRET_PREFIX = "whsec_"
ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
_SECRET_BYTES = 32
_TOLERANCE_SECONDS = 300
"""The largest difference between the timestamp of a message and now, as in the libraries of Standard Webhooks."""


class SignatureRefused(ValueError):
    """A message that the secret did not sign, or that is too old. The text says why."""


def new_webhook_secret(random: Random) -> str:
    """Return a new secret: "whsec_" and a key of 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(random(_SECRET_BYTES)).decode()


def sign_message(secret: str, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a message that is sent at `now`. Raises SignatureRefused for a wrong secret."""
    timestamp = str(int(now.timestamp()))
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: f"v1,{_signature(secret, message_id, timestamp, body)}",
    }


def verify_message(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Check the signature and age of a message, as a receiver does. Raises SignatureRefused."""
    try:
        message_id, timestamp, signatures = (
            headers[ID_HEADER],
            headers[TIMESTAMP_HEADER],
            headers[SIGNATURE_HEADER],
        )
    except KeyError as missing:
        raise SignatureRefused(f"There is no {missing.args[0]} header.") from None
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise SignatureRefused(f"{TIMESTAMP_HEADER} is not in seconds.")
    if abs(now.timestamp() - int(timestamp)) > _TOLERANCE_SECONDS:
        raise SignatureRefused(f"{TIMESTAMP_HEADER} is too far from now.")
    expected = _signature(secret, message_id, timestamp, body).encode()
    given = [text.removeprefix("v1,") for text in signatures.split() if text.startswith("v1,")]
    # All are compared, so that the time does not tell which one is right.
    matches = [hmac.compare_digest(expected, text.encode()) for text in given]
    if True not in matches:
        raise SignatureRefused("No signature of the message is right.")


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise SignatureRefused("The secret is not in base64.") from None
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
