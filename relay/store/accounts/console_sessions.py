"""Sessions of the console: a row for each, under the digest of an id that only the browser knows.

Every look-up reads the API token too, so a session ends with its token, on all nodes and at once.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

from relay.store import sql
from relay.store.accounts.api_tokens import ApiToken, api_token_of
from relay.store.database import Database

SESSION_IDLE_LIMIT = timedelta(hours=8)
"""A session that was not used for this long has ended."""
_SEEN_STEP = timedelta(minutes=1)
"""How precisely the last use is stored: each step is a row written."""
_SQL = sql.load(__package__, "console_sessions.sql")


class ConsoleSessionRepository:
    """The stored sessions of the console."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_session(self, session_id: str, token_id: UUID, now: datetime) -> None:
        """Store a session of an API token."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["insert"], _digest(session_id), token_id, now)

    async def find_session_token(self, session_id: str, now: datetime) -> ApiToken | None:
        """Return the API token of a session, or None if the session or its token has ended."""
        digest = _digest(session_id)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find"], digest, now - SESSION_IDLE_LIMIT, now)
            if row is None:
                return None
            if row["seen_at"] < now - _SEEN_STEP:
                await connection.execute(_SQL["mark_seen"], digest, now)
        return api_token_of(row)

    async def end_session(self, session_id: str) -> None:
        """Delete a session, if it is stored."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["delete"], _digest(session_id))

    async def delete_idle_sessions(self, now: datetime, at_most: int = 10_000) -> None:
        """Delete up to `at_most` sessions that were not used for `SESSION_IDLE_LIMIT`, the oldest first."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["delete_idle"], now - SESSION_IDLE_LIMIT, at_most)


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
