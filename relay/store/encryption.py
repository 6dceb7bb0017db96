"""Encryption at rest of secrets that the relay must be able to read again, under keys that can be rotated."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class UndecryptableSecret(ValueError):
    """A stored secret that none of the keys decrypts."""


class SecretCipher:
    """The encryption of the secrets of one `purpose`.

    `keys` go from oldest to newest: the newest encrypts, all of them decrypt. Each purpose has keys of its own, derived
    from `keys` by HKDF (RFC 5869), so a secret stored for one purpose cannot be passed off as a secret of another.
    """

    def __init__(self, keys: tuple[str, ...], purpose: str) -> None:
        fernets = [Fernet(_derive_key(key, purpose)) for key in reversed(keys)]
        self._newest = fernets[0]
        self._all = MultiFernet(fernets)

    def encrypt_secret(self, secret: str) -> bytes:
        """Return `secret` encrypted with the newest key."""
        return self._newest.encrypt(secret.encode())

    def decrypt_secret(self, encrypted: bytes) -> str:
        """Return the secret in clear.

        Raises:
            UndecryptableSecret: None of the keys decrypts it.
        """
        return self._decrypt(self._all, encrypted).decode()

    def uses_newest_key(self, encrypted: bytes) -> bool:
        """Return whether the newest key encrypted it."""
        try:
            self._decrypt(self._newest, encrypted)
        except UndecryptableSecret:
            return False
        return True

    def reencrypt_secret(self, encrypted: bytes) -> bytes:
        """Return the secret encrypted with the newest key.

        Raises:
            UndecryptableSecret: None of the keys decrypts it.
        """
        return self._newest.encrypt(self._decrypt(self._all, encrypted))

    @staticmethod
    def _decrypt(fernet: Fernet | MultiFernet, encrypted: bytes) -> bytes:
        try:
            return fernet.decrypt(encrypted)
        except InvalidToken:
            raise UndecryptableSecret("No key in keys.credentials decrypts the secret.") from None


def _derive_key(key: str, purpose: str) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"push-relay.{purpose}".encode())
    return base64.urlsafe_b64encode(kdf.derive(key.encode()))
