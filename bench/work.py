"""The work that all senders share: one payload, one topic, one key, many device tokens."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PAYLOAD = (
    b'{"aps":{"alert":{"title":"Morning Press","body":"The paper is here: twelve pages on what happened while '
    b'you slept."},"sound":"default","thread-id":"morning"},"article":"front-page"}'
)
TOPIC = "com.example.store.app"
TEAM_ID = "BENCHTEAM1"
KEY_ID = "BENCHKEY01"
HOST = "localhost"
POOL_SIZE = 50_000
"""Device tokens that a sender prepares before the clock starts, and uses in turn."""


def new_p8() -> str:
    """Return a new ES256 key in the form of Apple's .p8 files."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def write_p8(directory: Path) -> Path:
    """Write a new key to AuthKey.p8 in `directory`, and return its path."""
    path = directory / "AuthKey.p8"
    path.write_text(new_p8())
    return path


def device_tokens(count: int) -> list[str]:
    """Return random device tokens."""
    return [secrets.token_hex(32) for _ in range(count)]


def apns_ids(count: int) -> list[str]:
    """Return random apns-ids."""
    return [str(uuid.UUID(int=secrets.randbits(128), version=4)) for _ in range(count)]
