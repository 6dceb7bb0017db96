"""Install tokens: the signed credentials with which an installed copy acts for its installation.

After "install_" come the claims in base64url, a dot, and their signature (HMAC-SHA256) in base64url. The claims are
8 bytes of serial, 16 bytes of installation UUID, and the app id. The text depends on nothing else, so an installation
gets an equal token each time. The serial changes when the installation is retired or replaced, and every token that was
signed before is refused for ever.

The signature covers the claims as text and is compared as text: base64url has spare bits at its end that a comparison
of decoded bytes would not notice.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple
from uuid import UUID

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from relay.core.ids import AppId

PREFIX = "install_"
_SERIAL_BYTES = 8
_CLAIMS_BYTES = _SERIAL_BYTES + 16
_FORM = re.compile(r"install_([A-Za-z0-9_-]{34,})\.([A-Za-z0-9_-]{43})", re.ASCII)
_MAX_TOKEN_LENGTH = 256


class InstallClaims(NamedTuple):
    """The installation that a token acts for."""

    app_id: AppId
    installation_uuid: UUID
    serial: int


class InstallTokens:
    """Signer and verifier of install tokens under `secret_keys`, oldest to newest: the newest signs, all verify."""

    def __init__(self, secret_keys: tuple[str, ...]) -> None:
        self._signers = [
            Signer(
                key,
                salt="push-relay.installation",
                key_derivation="hmac",
                digest_method=hashlib.sha256,
            )
            for key in reversed(secret_keys)
        ]

    def sign_claims(self, claims: InstallClaims) -> str:
        """Return the token of an installation."""
        packed = claims.serial.to_bytes(_SERIAL_BYTES, "big") + claims.installation_uuid.bytes
        text = base64_encode(packed + claims.app_id.encode("ascii"))
        return f"{PREFIX}{text.decode()}.{self._signers[0].get_signature(text).decode()}"

    def verify_token(self, token: str) -> InstallClaims | None:
        """Return the claims of a token, or None if no key signed it. Only the store knows if the serial is current."""
        match = _FORM.fullmatch(token) if len(token) <= _MAX_TOKEN_LENGTH else None
        if match is None:
            return None
        text, signature = match[1].encode(), match[2].encode()
        if not any(hmac.compare_digest(signer.get_signature(text), signature) for signer in self._signers):
            return None
        packed = base64_decode(text)
        return InstallClaims(
            AppId(packed[_CLAIMS_BYTES:].decode("ascii")),
            UUID(bytes=packed[_SERIAL_BYTES:_CLAIMS_BYTES]),
            int.from_bytes(packed[:_SERIAL_BYTES], "big"),
        )
