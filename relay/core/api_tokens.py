"""The text of API tokens: its form, its checksum, and the digest that is stored in its place.

A token is its kind, "_", and 48 characters of base64url: 32 random bytes and 4 bytes of CRC-32, so that a scanner (and
the relay) can tell a leaked token from a random word. Only its SHA-256 is stored: 256 random bits need no slow hash.
"""

from __future__ import annotations

import base64
import hashlib
import zlib

from relay.core.accounts import TokenKind

RANDOM_BYTES = 32
"""Random bytes in a token."""
_ENCODED_LENGTH = 48


def make_token(kind: TokenKind, random: bytes) -> str:
    """Return the text of a token of `kind` from 32 bytes of `random`."""
    return f"{kind}_{base64.urlsafe_b64encode(random + _checksum(random)).decode()}"


def kind_of_token(text: str) -> TokenKind | None:
    """Return the kind of a well-formed token, or None for any other text. Compares no secret and runs no query."""
    prefix, _, encoded = text.partition("_")
    if len(encoded) != _ENCODED_LENGTH or not encoded.isascii():
        return None
    try:
        kind = TokenKind(prefix)
        raw = base64.b64decode(encoded, altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error is one
        return None
    return kind if _checksum(raw[:RANDOM_BYTES]) == raw[RANDOM_BYTES:] else None


def digest_of_token(text: str) -> bytes:
    """Return the 32 bytes (SHA-256) that are stored in place of the token."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(random: bytes) -> bytes:
    return zlib.crc32(random).to_bytes(4, "big")
