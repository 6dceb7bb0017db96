"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same request again is the same push.

A key belongs to the push token it is used with. Nobody can tell from what is kept what a body or its answer said, which
may name e-mail addresses: it is keyed digests, and the answer under a key that only the same request makes again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.core.errors import MalformedRequest

IDEMPOTENCY_HEADER = "Idempotency-Key"
KEY_KEPT_FOR = timedelta(hours=24)
"""How long a key is known, at least."""
_LONGEST = 255
_PURPOSE = b"push-relay.idempotency"
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A string of structured fields (RFC 9651 section 3.3.3): printable ASCII, with `\\` before `\\` and `"`."""
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]*")
"""What many clients send: the same without quotes; and without space, `,` and `;`, which would end it."""


@dataclass(frozen=True, slots=True, repr=False)
class IdempotencyKey:
    """`digest` (32 bytes) is of the key and its push token, `fingerprint` (32 bytes) of these and the body."""

    digest: bytes
    fingerprint: bytes
    secret: bytes

    def seal(self, answer: bytes, push_id: UUID) -> bytes:
        """An answer as it is stored. No other push has that id, so it is a nonce."""
        return AESGCM(self.secret).encrypt(push_id.bytes, answer, None)

    def open(self, sealed: bytes, push_id: UUID) -> bytes:
        """The answer again, if it was sealed by a key with this fingerprint."""
        return AESGCM(self.secret).decrypt(push_id.bytes, sealed, None)


class IdempotencyDigests:
    """Reads the header. `key` is the one that never changes: what is kept is found by these digests."""

    def __init__(self, key: str) -> None:
        self._key = hmac.digest(key.encode(), _PURPOSE, hashlib.sha256)

    def read_key(self, values: Sequence[str], token_id: UUID, body: bytes) -> IdempotencyKey:
        """The key of a request from the values of its header, its push token and its body. Raises MalformedRequest."""
        digest = hmac.digest(self._key, token_id.bytes + _read(values), hashlib.sha256)
        of_body = hmac.digest(self._key, digest + body, hashlib.sha512)
        return IdempotencyKey(digest, of_body[:32], of_body[32:])


def _read(values: Sequence[str]) -> bytes:
    if len(values) > 1:
        raise MalformedRequest(f"There is more than one {IDEMPOTENCY_HEADER}.")
    value = values[0].strip(" \t")
    if quoted := _QUOTED.fullmatch(value):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(value):
        key = value
    else:
        raise MalformedRequest(
            f'{IDEMPOTENCY_HEADER} is a string in quotes, such as "8e03978e-40d5-43dd-bc93-6894a57f9324".'
        )
    if not 0 < len(key) <= _LONGEST:
        raise MalformedRequest(f"{IDEMPOTENCY_HEADER} has 1 to {_LONGEST} characters.")
    return key.encode()
