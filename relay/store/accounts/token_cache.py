"""API tokens in memory for a short time, which spares a query for each request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from relay.core.api_tokens import digest_of_token, kind_of_token
from relay.core.clock import Clock
from relay.core.ids import TokenId
from relay.store import sql
from relay.store.accounts.api_tokens import ApiToken, api_token_of
from relay.store.database import Database

_SQL = sql.load(__package__, "token_cache.sql")


class _CachedToken(NamedTuple):
    fresh_until: float
    """Epoch seconds."""
    token: ApiToken | None


class TokenCache:
    """The API tokens of recent callers, each kept for `memory_seconds`.

    A revocation on this node takes effect here at once. The other nodes drop their caches when `announce` reaches them,
    at the latest when the kept tokens get too old.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        memory_seconds: float = 2.0,
        *,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._memory_seconds = memory_seconds
        self._announce = announce
        self._cached: dict[bytes, _CachedToken] = {}
        """By digest, as in the database: no token text is kept, and none is compared with what a caller sends."""
        self._last_used: dict[TokenId, datetime] = {}
        self._revocations = 0

    async def authenticate_token(self, text: str) -> ApiToken | None:
        """Return the token, or None if it is unknown, revoked or expired. Raises Unavailable."""
        now = self._clock.now()
        digest = digest_of_token(text)
        cached = self._cached.get(digest)
        if cached is None or cached.fresh_until < now.timestamp():
            cached = await self._look_up(text, digest, now)
        return self._unless_expired(cached.token, now)

    def authenticate_cached_token(self, text: str) -> ApiToken | None:
        """Return the token without a query, or None if that would need one."""
        now = self._clock.now()
        cached = self._cached.get(digest_of_token(text))
        if cached is None or cached.fresh_until < now.timestamp():
            return None
        return self._unless_expired(cached.token, now)

    def _unless_expired(self, token: ApiToken | None, now: datetime) -> ApiToken | None:
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        self._last_used[token.token_id] = now
        return token

    async def _look_up(self, text: str, digest: bytes, now: datetime) -> _CachedToken:
        row = None
        revocations = self._revocations
        if kind_of_token(text) is not None:
            async with self._database.connection() as connection:
                row = await connection.fetchrow(_SQL["find_active"], digest)
        cached = _CachedToken(now.timestamp() + self._memory_seconds, api_token_of(row) if row else None)
        # Unknown tokens are not kept: a caller could fill the memory with them. Nor is a row that may have been read
        # before a revocation.
        if row and revocations == self._revocations:
            self._cached[digest] = cached
        return cached

    def drop_revoked(self) -> None:
        """Drop all tokens from the caches of all nodes, after this node revoked one."""
        self.clear()
        self._announce()

    def clear(self) -> None:
        """Drop all tokens from this node's cache."""
        self._revocations += 1
        self._cached.clear()

    async def write_last_used(self) -> None:
        """Store when each token was last used, in one statement. Meant to be called about once a minute."""
        now = self._clock.now().timestamp()
        self._cached = {
            digest: cached for digest, cached in self._cached.items() if cached.fresh_until >= now
        }
        written = dict(self._last_used)
        if written:
            async with self._database.connection() as connection:
                await connection.execute(_SQL["write_last_used"], list(written), list(written.values()))
        for token_id, used_at in written.items():
            if self._last_used[token_id] == used_at:  # not used again meanwhile
                del self._last_used[token_id]
