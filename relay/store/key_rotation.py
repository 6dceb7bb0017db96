"""Rotation of the keys that encrypt stored secrets: all secrets in one transaction, or none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from relay.core.errors import Conflict
from relay.store.database import Connection, Database
from relay.store.encryption import SecretCipher, UndecryptableSecret
from relay.store.operations.audit import Actor


class Rotation(NamedTuple):
    """The number of stored secrets, and how many of them were reencrypted."""

    stored: int
    anew: int


class SecretRepository(Protocol):
    """A repository of encrypted secrets."""

    async def rotate_key(self, connection: Connection, now: datetime, actor: Actor) -> Rotation:
        """Reencrypt, with the newest key, each secret that another key encrypted. Joins the caller's transaction.

        Raises:
            Conflict: None of the keys decrypts one of the secrets.
        """


async def rotate_keys(
    database: Database, repositories: Sequence[SecretRepository], now: datetime, actor: Actor
) -> list[Rotation]:
    """Rotate the keys of all `repositories` in one transaction.

    Raises:
        Conflict: A secret cannot be decrypted. Nothing is changed.
    """
    async with database.transaction() as connection:
        return [await repository.rotate_key(connection, now, actor) for repository in repositories]


def reencrypt_old_secrets(
    cipher: SecretCipher, secrets: Sequence[bytes], names: Sequence[str]
) -> dict[int, bytes]:
    """Return, by their index in `secrets`, those that the newest key did not encrypt, reencrypted with it.

    `names` name the secrets in the error.

    Raises:
        Conflict: None of the keys decrypts one of the secrets.
    """
    reencrypted, undecryptable = {}, []
    for index, secret in enumerate(secrets):
        if cipher.uses_newest_key(secret):
            continue
        try:
            reencrypted[index] = cipher.reencrypt_secret(secret)
        except UndecryptableSecret:
            undecryptable.append(names[index])
    if undecryptable:
        raise Conflict(
            f"No key in keys.credentials decrypts {', '.join(undecryptable)}. Nothing was changed."
        )
    return reencrypted
