"""API tokens as their owners manage them: made, listed, recognised, revoked. Who is calling is auth.py's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.core.clock import Clock, Random
from relay.core.ids import new_id
from relay.store.accounts.auth import NewToken, digest, insert_token, make_token, token_detail
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import COMMAND_LINE, Actor, AuditAction, Entry

TOKEN_BYTES = 32
_NIL = UUID(int=0)

_OF_APP = """
SELECT token_id, label, test_only, broadcast, created_at, expires_at, last_used_at FROM api_token
WHERE app_id = $1 AND kind = 'push' AND revoked_at IS NULL AND token_id > $2 ORDER BY token_id LIMIT $3
"""
_OF_DIGEST = """
SELECT token_id, kind, publisher_id, app_id, label, test_only, broadcast, created_at, expires_at, revoked_at,
       last_used_at
FROM api_token WHERE digest = $1
"""
_EVERYTHING = """
SELECT token_id, kind, publisher_id, app_id, label, test_only, broadcast, created_at, expires_at, revoked_at,
       last_used_at
FROM api_token
WHERE token_id > $1 AND ($3::text IS NULL OR kind = $3) AND ($4::uuid IS NULL OR publisher_id = $4)
  AND ($5::text IS NULL OR app_id = $5) AND ($6 OR revoked_at IS NULL)
  AND ($7::timestamptz IS NULL OR greatest(created_at, last_used_at) < $7)
ORDER BY token_id LIMIT $2
"""
_REVOKE = "UPDATE api_token SET revoked_at = $2 WHERE token_id = $1 AND revoked_at IS NULL"
_REVOKED = " RETURNING kind, publisher_id, app_id, label"
_REVOKE_ANY = _REVOKE + _REVOKED
_REVOKE_OF_APP = f"{_REVOKE} AND app_id = $3 AND kind = 'push' {_REVOKED}"


@dataclass(frozen=True, slots=True)
class TokenDescription:
    """What is told of a push token: all but the token."""

    token_id: UUID
    label: str
    test_only: bool
    broadcast: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class RecognisedToken:
    """What the operator is told of a token of any kind: all but the token."""

    token_id: UUID
    kind: str
    publisher_id: UUID | None
    app_id: str | None
    label: str
    test_only: bool
    broadcast: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFilter:
    """Which tokens are listed: all that are not revoked, or fewer. `unused_since`: made before, and not used since."""

    kind: str | None = None
    publisher_id: UUID | None = None
    app_id: str | None = None
    revoked: bool = False
    unused_since: datetime | None = None


@dataclass(frozen=True, slots=True, repr=False)
class IssuedToken:
    """A new token with its text, which is shown once and kept nowhere."""

    token_id: UUID
    text: str
    created_at: datetime


class TokenIssuer:
    """Makes tokens, lists those of an app, revokes them."""

    def __init__(self, database: Database, clock: Clock, random: Random) -> None:
        self._database = database
        self._clock = clock
        self._random = random

    def make(self, kind: str) -> IssuedToken:
        """A token of that kind that is not stored yet."""
        now = self._clock.now()
        text = make_token(kind, self._random(TOKEN_BYTES))
        return IssuedToken(new_id(now, self._random), text, now)

    async def issue(self, new: NewToken, actor: Actor) -> IssuedToken:
        """Make and store a token."""
        issued = self.make(new.kind)
        async with self._database.transaction() as connection:
            await insert_token(connection, new, issued.text, issued.token_id, issued.created_at, actor)
        return issued

    async def of_app(self, app_id: str, after: UUID | None, limit: int) -> list[TokenDescription]:
        """Up to `limit` push tokens of an app that follow `after` and are not revoked, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OF_APP, app_id, after or _NIL, limit)
            return [TokenDescription(**row) for row in rows]

    async def everything(self, wanted: TokenFilter, after: UUID | None, limit: int) -> list[RecognisedToken]:
        """Up to `limit` tokens of all kinds that follow `after`, oldest first. For the operator."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _EVERYTHING,
                after or _NIL,
                limit,
                wanted.kind,
                wanted.publisher_id,
                wanted.app_id,
                wanted.revoked,
                wanted.unused_since,
            )
        return [RecognisedToken(**row) for row in rows]

    async def revoke(self, app_id: str, token_id: UUID, actor: Actor) -> bool:
        """Revoke a push token of that app. False if there is none, or none any more."""
        return await self._revoke(actor, token_id, _REVOKE_OF_APP, app_id)

    async def revoke_any(self, token_id: UUID, actor: Actor) -> bool:
        """Revoke a token of any kind. False if there is none, or none any more."""
        return await self._revoke(actor, token_id, _REVOKE_ANY)

    async def _revoke(self, actor: Actor, token_id: UUID, sql: str, *app_id: str) -> bool:
        now = self._clock.now()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(sql, token_id, now, *app_id)
            if row is not None:
                detail = token_detail(row["label"], row["app_id"])
                revoked = AuditAction(f"{row['kind']}_token.revoked")
                entry = Entry(revoked, str(token_id), row["publisher_id"], detail)
                await audit.write(connection, actor, now, entry)
        return row is not None

    async def recognise(self, text: str) -> RecognisedToken | None:
        """The token with that text, revoked and expired ones too. None if it is not in this database."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_OF_DIGEST, digest(text))
        return RecognisedToken(**row) if row else None


async def create_operator_token(database: Database, clock: Clock, random: Random, label: str = "") -> str:
    """A new operator_ token, stored: the first one, which no API can give."""
    issuer = TokenIssuer(database, clock, random)
    issued = await issuer.issue(NewToken(kind="operator", label=label), COMMAND_LINE)
    return issued.text
