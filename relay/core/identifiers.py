"""Scoped identifiers: c_… for a customer and d_… for a device, different in every app.

An identifier is "c_" or "d_" and 44 characters of base64url: 16 random bytes and a 17-byte signature over them. 33
bytes fill 44 characters to the last bit, so each identifier has exactly one spelling and any changed character is
noticed. The salt of the signature holds the kind and the app_id; that of a device identifier holds its customer's
random part as well. So a forged identifier, one of another app, and a device of another customer are all refused
without a query. Keys rotate: the newest signs, all verify.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from typing import NamedTuple

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from relay.core.ids import AppId

RANDOM_BYTES = 16
_SIGNATURE_BYTES = 17
_FORM = re.compile(r"([cd])_([A-Za-z0-9_-]{44})", re.ASCII)


class ParsedIdentifier(NamedTuple):
    """The parts of an identifier whose signature is not verified yet."""

    kind: str
    random: bytes
    signature: bytes


class Identifiers:
    """Minter and verifier of the identifiers of all apps under `secret_keys` (oldest to newest)."""

    def __init__(self, secret_keys: tuple[str, ...]) -> None:
        self._secret_keys = list(secret_keys)
        self._keys = functools.lru_cache(maxsize=4096)(self._derive_keys)

    def mint_customer(self, app_id: AppId, random: bytes) -> str:
        """Return the customer identifier of 16 random bytes."""
        return self._mint("c", app_id, b"", random)

    def mint_device(self, app_id: AppId, customer: str, random: bytes) -> str:
        """Return the device identifier of 16 random bytes, valid only under the customer identifier `customer`."""
        return self._mint("d", app_id, _random_of(customer), random)

    def is_customer(self, app_id: AppId, identifier: str) -> bool:
        """Tell whether the relay signed this as a customer identifier of the app."""
        parsed = parse_identifier(identifier)
        return parsed is not None and parsed.kind == "c" and self._verify(parsed, app_id, b"")

    def is_device(self, app_id: AppId, customer: str, identifier: str) -> bool:
        """Tell whether the relay signed this as a device identifier of the app, under `customer` (verified already)."""
        parsed = parse_identifier(identifier)
        return (
            parsed is not None and parsed.kind == "d" and self._verify(parsed, app_id, _random_of(customer))
        )

    def _mint(self, kind: str, app_id: AppId, owner: bytes, random: bytes) -> str:
        if len(random) != RANDOM_BYTES:
            raise ValueError(f"an identifier is made of {RANDOM_BYTES} random bytes")
        signature = _sign(self._keys(kind, app_id)[0], owner + random)
        return f"{kind}_{base64_encode(random + signature).decode()}"

    def _verify(self, parsed: ParsedIdentifier, app_id: AppId, owner: bytes) -> bool:
        message = owner + parsed.random
        return any(
            hmac.compare_digest(parsed.signature, _sign(key, message))
            for key in self._keys(parsed.kind, app_id)
        )

    def _derive_keys(self, kind: str, app_id: AppId) -> list[bytes]:
        """Return the keys of a kind and app, newest first. Cached: a Signer would derive them for each signature."""
        signer = Signer(
            self._secret_keys,
            salt=f"push-relay.identifier.{kind}.{app_id}",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )
        return [signer.derive_key(key) for key in reversed(signer.secret_keys)]


def _sign(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256 cut to 136 bits: RFC 2104 section 5 allows half of the digest or more."""
    return hmac.digest(key, message, "sha256")[:_SIGNATURE_BYTES]


def parse_identifier(identifier: str) -> ParsedIdentifier | None:
    """Return the parts of an identifier, or None if the text does not have its form."""
    match = _FORM.fullmatch(identifier)
    if match is None:
        return None
    raw = base64_decode(match[2])
    return ParsedIdentifier(match[1], raw[:RANDOM_BYTES], raw[RANDOM_BYTES:])


def _random_of(customer: str) -> bytes:
    parsed = parse_identifier(customer)
    if parsed is None or parsed.kind != "c":
        raise ValueError("not a customer identifier")
    return parsed.random
