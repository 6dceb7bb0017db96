"""Idempotency keys and the answers given to them, kept for a day. Keys are stored together with their pushes."""

from __future__ import annotations

from datetime import datetime

from relay.core.errors import Fault, Invalid
from relay.core.idempotency import IdempotencyKey
from relay.core.push.request import Accepted
from relay.store import sql
from relay.store.database import Database

_SQL = sql.load(__package__, "idempotency_keys.sql")


class IdempotencyKeyRepository:
    """The keys that were used within the last day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_stored_answer(self, app_id: str, key: IdempotencyKey) -> Accepted | None:
        """Return the answer given to the request with that key, or None if there was none.

        Raises:
            Invalid: That request had another body.
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find_answer"], app_id, key.digest)
        if row is None:
            return None
        if row["fingerprint"] != key.fingerprint:
            detail = "This Idempotency-Key was used with another body. Nothing was sent; take another key."
            raise Invalid(detail, [Fault("idempotency_key_reused", "", detail)])
        return Accepted(row["push_id"], key.open(row["answer"], row["push_id"]))

    async def drop_keys_before(self, moment: datetime, piece_size: int = 10_000) -> None:
        """Drop all keys from before `moment`, `piece_size` of them in each transaction.

        Raises:
            Unavailable: The database is away. Some keys may be dropped.
        """
        while await self.drop_oldest_keys(moment, piece_size) == piece_size:
            pass

    async def drop_oldest_keys(self, moment: datetime, max_keys: int = 10_000) -> int:
        """Drop up to `max_keys` keys from before `moment`, the oldest first. Return the number dropped.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            status = await connection.execute(_SQL["drop_keys"], moment, max_keys)
        return int(status.rpartition(" ")[2])
