"""Another key for everything that is encrypted at rest: all of it in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from relay.core.errors import Conflict
from relay.store.database import Connection, Database
from relay.store.encryption import SecretCipher, UndecryptableSecret
from relay.store.operations.audit import Actor


class Rotation(NamedTuple):
    """How many secrets are stored, and how many of them were encrypted anew."""

    stored: int
    anew: int


class Sealed(Protocol):
    """A store of secrets."""

    async def rotate_key(self, connection: Connection, now: datetime, actor: Actor) -> Rotation:
        """Encrypt anew, with the newest key, every secret that another one encrypted. Raises Conflict if there is one
        that none of the keys opens."""


async def rotate_keys(
    database: Database, stores: Sequence[Sealed], now: datetime, actor: Actor
) -> list[Rotation]:
    """Rotate the keys of all stores. Raises Conflict if a secret can't be opened: nothing is changed then."""
    async with database.transaction() as connection:
        return [await store.rotate_key(connection, now, actor) for store in stores]


def sealed_anew(cipher: SecretCipher, secrets: Sequence[bytes], names: Sequence[str]) -> dict[int, bytes]:
    """By index, those secrets that the newest key did not encrypt, encrypted with it. `names` is for the error.

    Raises Conflict.
    """
    anew, lost = {}, []
    for index, sealed in enumerate(secrets):
        if cipher.uses_newest_key(sealed):
            continue
        try:
            anew[index] = cipher.reencrypt_secret(sealed)
        except UndecryptableSecret:
            lost.append(names[index])
    if lost:
        raise Conflict(f"No key in keys.credentials decrypts {', '.join(lost)}. Nothing was changed.")
    return anew
