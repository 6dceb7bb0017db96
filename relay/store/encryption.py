"""Encryption at rest: secrets that the relay must be able to read again, under keys that can be changed."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Unopened(ValueError):
    """None of the keys opens the secret."""


class Seal:
    """Encrypts and decrypts secrets of one `purpose` under `keys`, oldest to newest: the newest encrypts, all decrypt.

    Each purpose has keys of its own, derived from the given ones by HKDF (RFC 5869): what was stored for one can't be
    passed off as another's.
    """

    def __init__(self, keys: tuple[str, ...], purpose: str) -> None:
        fernets = [Fernet(_derive(key, purpose)) for key in reversed(keys)]
        self._newest = fernets[0]
        self._all = MultiFernet(fernets)

    def close(self, secret: str) -> bytes:
        """The secret, encrypted with the newest key."""
        return self._newest.encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """The secret in clear. Raises Unopened."""
        return self._open(self._all, sealed).decode()

    def is_newest(self, sealed: bytes) -> bool:
        """Whether the newest key encrypted it."""
        try:
            self._open(self._newest, sealed)
        except Unopened:
            return False
        return True

    def close_anew(self, sealed: bytes) -> bytes:
        """The same secret under the newest key. Raises Unopened."""
        return self._newest.encrypt(self._open(self._all, sealed))

    @staticmethod
    def _open(fernet: Fernet | MultiFernet, sealed: bytes) -> bytes:
        try:
            return fernet.decrypt(sealed)
        except InvalidToken:
            raise Unopened("None of the keys opens it.") from None


def _derive(key: str, purpose: str) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"push-relay.{purpose}".encode())
    return base64.urlsafe_b64encode(kdf.derive(key.encode()))
