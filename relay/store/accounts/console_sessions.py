"""Who is signed in to the console: a row for each session, under the digest of an id that only the browser knows.

Every look-up reads the API token too, so a session ends with its token, on all nodes and at once.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

from relay.store.accounts.auth import ApiToken
from relay.store.database import Database

IDLE = timedelta(hours=8)
"""A session that nobody used for so long is over."""
_SEEN_EVERY = timedelta(minutes=1)

_INSERT = "INSERT INTO console_session (digest, token_id, created_at, seen_at) VALUES ($1, $2, $3, $3)"
_FIND = """
SELECT s.seen_at, t.token_id, t.kind, t.publisher_id, t.app_id, t.test_only, t.broadcast, t.expires_at
FROM console_session s JOIN api_token t ON t.token_id = s.token_id
WHERE s.digest = $1 AND s.seen_at > $2 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $3)
"""
_SEEN = "UPDATE console_session SET seen_at = $2 WHERE digest = $1 AND seen_at < $2"
_DROP = """
DELETE FROM console_session WHERE digest = ANY (ARRAY(
    SELECT digest FROM console_session WHERE seen_at < $1 ORDER BY seen_at LIMIT $2
))
"""


class ConsoleSessions:
    """Begins, finds and ends sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, session_id: str, token_id: UUID, now: datetime) -> None:
        """Store a session of that API token."""
        async with self._database.connection() as connection:
            await connection.execute(_INSERT, _digest(session_id), token_id, now)

    async def find(self, session_id: str, now: datetime) -> ApiToken | None:
        """The API token of a session, or None if the session or its token is over."""
        key = _digest(session_id)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, key, now - IDLE, now)
            if row is None:
                return None
            found = dict(row)
            if found.pop("seen_at") < now - _SEEN_EVERY:
                await connection.execute(_SEEN, key, now)
        return ApiToken(**found)

    async def end(self, session_id: str) -> None:
        """Forget a session; one that is over already is no error."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM console_session WHERE digest = $1", _digest(session_id))

    async def drop_idle(self, now: datetime, at_most: int = 10_000) -> None:
        """Remove sessions that nobody used for `IDLE`, the oldest first."""
        async with self._database.connection() as connection:
            await connection.execute(_DROP, now - IDLE, at_most)


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
