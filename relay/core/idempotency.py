"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a repeated request makes no second push.

A key belongs to the push token it is used with. Bodies and answers may name e-mail addresses, so they are not stored in
clear: the store keeps keyed digests, and the answer encrypted under a key that only a repeated request derives again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.core.errors import MalformedRequest
from relay.core.ids import PushId, TokenId

IDEMPOTENCY_HEADER = "Idempotency-Key"
KEY_KEPT_FOR = timedelta(hours=24)
"""The time for which a key is kept, at least."""
_MAX_KEY_LENGTH = 255
_PURPOSE = b"push-relay.idempotency"
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A string of structured fields (RFC 9651 section 3.3.3): printable ASCII, with `\\` before `\\` and `"`."""
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]*")
"""The form without quotes that many clients send; space, `,` and `;` would end it."""


@dataclass(frozen=True, slots=True, repr=False)
class IdempotencyKey:
    """The digests of a key: `digest` of key and push token, `fingerprint` of these and the body, each of 32 bytes."""

    digest: bytes
    fingerprint: bytes
    secret: bytes

    def seal(self, answer: bytes, push_id: PushId) -> bytes:
        """Encrypt an answer for the store. The push id is the nonce: no other push has it."""
        return AESGCM(self.secret).encrypt(push_id.bytes, answer, None)

    def open(self, sealed: bytes, push_id: PushId) -> bytes:
        """Decrypt an answer that a key with this fingerprint sealed. Raises InvalidTag for any other."""
        return AESGCM(self.secret).decrypt(push_id.bytes, sealed, None)


class IdempotencyDigests:
    """Reader of the header. `key` must never change: stored keys are found by these digests."""

    def __init__(self, key: str) -> None:
        self._key = hmac.digest(key.encode(), _PURPOSE, hashlib.sha256)

    def read_key(self, values: Sequence[str], token_id: TokenId, body: bytes) -> IdempotencyKey:
        """Return the key of a request from its header values, its push token and its body. Raises MalformedRequest."""
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
    if not 0 < len(key) <= _MAX_KEY_LENGTH:
        raise MalformedRequest(f"{IDEMPOTENCY_HEADER} has 1 to {_MAX_KEY_LENGTH} characters.")
    return key.encode()
