"""SQL of idempotency keys: what was answered to them, for a day. pushes.py writes them, with their pushes."""

from __future__ import annotations

from datetime import datetime

from relay.core.errors import Fault, Invalid
from relay.core.idempotency import IdempotencyKey
from relay.core.push.request import Accepted
from relay.store.database import Database

_FIND = "SELECT fingerprint, push_id, answer FROM idempotency_key WHERE app_id = $1 AND digest = $2"
# Locked rows are another node's to drop.
_DROP = """
WITH old AS MATERIALIZED (
    SELECT app_id, digest FROM idempotency_key WHERE created_at < $1 ORDER BY created_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_key k USING old o WHERE k.app_id = o.app_id AND k.digest = o.digest
"""


class IdempotencyKeys:
    """The keys that were used in the last day."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def answered(self, app_id: str, key: IdempotencyKey) -> Accepted | None:
        """What was answered to the request with that key; None if there was none.

        Raises Invalid if it had another body.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, app_id, key.digest)
        if row is None:
            return None
        if row["fingerprint"] != key.fingerprint:
            detail = "This Idempotency-Key was used with another body. Nothing was sent; take another key."
            raise Invalid(detail, [Fault("idempotency_key_reused", "", detail)])
        return Accepted(row["push_id"], key.open(row["answer"], row["push_id"]))

    async def drop_before(self, moment: datetime, piece: int = 10_000) -> None:
        """Drop all that are older, in pieces of so many: one transaction each."""
        while await self.drop_piece_before(moment, piece) == piece:
            pass

    async def drop_piece_before(self, moment: datetime, at_most: int = 10_000) -> int:
        """Drop up to `at_most` that are older, the oldest first. Returns how many went."""
        async with self._database.connection() as connection:
            done = await connection.execute(_DROP, moment, at_most)
        return int(done.rpartition(" ")[2])
