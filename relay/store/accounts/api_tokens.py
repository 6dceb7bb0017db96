"""API tokens: the types of callers, and the repository that issues, lists and revokes tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

import asyncpg

from relay.core.accounts import TokenKind
from relay.core.api_tokens import RANDOM_BYTES, digest_of_token, make_token
from relay.core.clock import Clock, Random
from relay.core.ids import AppId, PublisherId, TokenId, new_uuid7
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import COMMAND_LINE, Actor, ActorKind, AuditAction, AuditEntry

_SQL = sql.load(__package__, "api_tokens.sql")
_NIL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class PushToken:
    """A caller that sends pushes for one app. `broadcast`: it may push to all customers of the app at once."""

    kind: ClassVar[TokenKind] = TokenKind.PUSH

    token_id: TokenId
    publisher_id: PublisherId
    app_id: AppId
    test_only: bool
    broadcast: bool
    expires_at: datetime | None

    @property
    def actor(self) -> Actor:
        """Return the caller as the audit log names it."""
        return Actor(ActorKind.PUBLISHER, self.token_id)


@dataclass(frozen=True, slots=True)
class ManageToken:
    """A caller that manages the things of one publisher."""

    kind: ClassVar[TokenKind] = TokenKind.MANAGE

    token_id: TokenId
    publisher_id: PublisherId
    expires_at: datetime | None

    @property
    def actor(self) -> Actor:
        """Return the caller as the audit log names it."""
        return Actor(ActorKind.PUBLISHER, self.token_id)


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """A caller that manages the store."""

    kind: ClassVar[TokenKind] = TokenKind.OPERATOR

    token_id: TokenId
    expires_at: datetime | None

    @property
    def actor(self) -> Actor:
        """Return the caller as the audit log names it."""
        return Actor(ActorKind.OPERATOR, self.token_id)


ApiToken = PushToken | ManageToken | OperatorToken
"""The rights of a caller that has authenticated with an API token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """The rights and the label of a token to be issued."""

    kind: TokenKind
    publisher_id: UUID | None = None
    app_id: str | None = None
    label: str = ""
    test_only: bool = False
    broadcast: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, repr=False)
class IssuedToken:
    """A new token with its text, which is shown once and stored nowhere."""

    token_id: TokenId
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PushTokenDescription:
    """A push token as its publisher sees it: without its text."""

    token_id: TokenId
    label: str
    test_only: bool
    broadcast: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class TokenDescription:
    """A token of any kind, revoked and expired ones included, as the operator sees it: without its text."""

    token_id: TokenId
    kind: TokenKind
    publisher_id: PublisherId | None
    app_id: AppId | None
    label: str
    test_only: bool
    broadcast: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFilter:
    """The tokens to list. A field that is None does not narrow the list.

    `revoked`: revoked tokens are listed too. `unused_since`: only tokens that were created and last used before.
    """

    kind: TokenKind | None = None
    publisher_id: UUID | None = None
    app_id: str | None = None
    revoked: bool = False
    unused_since: datetime | None = None


class ApiTokenRepository:
    """The stored API tokens of all kinds."""

    def __init__(self, database: Database, clock: Clock, random: Random) -> None:
        self._database = database
        self._clock = clock
        self._random = random

    def generate_token(self, kind: TokenKind) -> IssuedToken:
        """Return a token of `kind` that is not stored yet."""
        now = self._clock.now()
        text = make_token(kind, self._random(RANDOM_BYTES))
        return IssuedToken(TokenId(new_uuid7(now, self._random)), text, now)

    async def issue_token(self, new: NewToken, actor: Actor) -> IssuedToken:
        """Store a new token and return it with its text."""
        issued = self.generate_token(new.kind)
        async with self._database.transaction() as connection:
            await insert_token(connection, new, issued, actor)
        return issued

    async def list_push_tokens(
        self, app_id: str, after: UUID | None, limit: int
    ) -> list[PushTokenDescription]:
        """Return up to `limit` push tokens of an app that follow `after` and are not revoked, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_push_tokens"], app_id, after or _NIL, limit)
        return [PushTokenDescription(**row) for row in rows]

    async def list_tokens(
        self, wanted: TokenFilter, after: UUID | None, limit: int
    ) -> list[TokenDescription]:
        """Return up to `limit` tokens of all kinds that follow `after` and pass the filter, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _SQL["list_tokens"],
                after or _NIL,
                limit,
                wanted.kind,
                wanted.publisher_id,
                wanted.app_id,
                wanted.revoked,
                wanted.unused_since,
            )
        return [_describe(row) for row in rows]

    async def find_token(self, text: str) -> TokenDescription | None:
        """Return the token with that text, also if it is revoked or expired; None if this relay did not issue it."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find_by_digest"], digest_of_token(text))
        return _describe(row) if row else None

    async def revoke_push_token(self, app_id: str, token_id: UUID, actor: Actor) -> bool:
        """Revoke a push token of an app. Returns False if the app has no such token, or it was revoked before."""
        return await self._revoke(actor, token_id, "revoke_push_token", app_id)

    async def revoke_token(self, token_id: UUID, actor: Actor) -> bool:
        """Revoke a token of any kind. Returns False if there is no such token, or it was revoked before."""
        return await self._revoke(actor, token_id, "revoke")

    async def _revoke(self, actor: Actor, token_id: UUID, statement: str, *app_id: str) -> bool:
        now = self._clock.now()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_SQL[statement], token_id, now, *app_id)
            if row is None:
                return False
            action = AuditAction(f"{row['kind']}_token.revoked")
            detail = _audit_detail(row["label"], row["app_id"])
            await audit.write_entries(
                connection, actor, now, AuditEntry(action, str(token_id), row["publisher_id"], detail)
            )
        return True


async def create_operator_token(database: Database, clock: Clock, random: Random, label: str = "") -> str:
    """Store a new operator_ token and return its text. The first one of a relay cannot come from its API."""
    tokens = ApiTokenRepository(database, clock, random)
    issued = await tokens.issue_token(NewToken(kind=TokenKind.OPERATOR, label=label), COMMAND_LINE)
    return issued.text


async def insert_token(connection: Connection, new: NewToken, issued: IssuedToken, actor: Actor) -> None:
    """Store the digest and the rights of a token, and its audit entry, in the caller's transaction."""
    await connection.execute(
        _SQL["insert"],
        digest_of_token(issued.text),
        issued.token_id,
        new.kind,
        new.publisher_id,
        new.app_id,
        new.label,
        new.test_only,
        new.broadcast,
        issued.created_at,
        new.expires_at,
    )
    action = AuditAction(f"{new.kind}_token.created")
    detail = _audit_detail(new.label, new.app_id)
    entry = AuditEntry(action, str(issued.token_id), new.publisher_id, detail)
    await audit.write_entries(connection, actor, issued.created_at, entry)


def api_token_of(row: asyncpg.Record) -> ApiToken:
    """Return the caller that a row of `api_token` describes."""
    if row["kind"] == TokenKind.OPERATOR:
        return OperatorToken(row["token_id"], row["expires_at"])
    if row["kind"] == TokenKind.MANAGE:
        return ManageToken(row["token_id"], row["publisher_id"], row["expires_at"])
    return PushToken(
        row["token_id"],
        row["publisher_id"],
        row["app_id"],
        row["test_only"],
        row["broadcast"],
        row["expires_at"],
    )


def _describe(row: asyncpg.Record) -> TokenDescription:
    return TokenDescription(**{**row, "kind": TokenKind(row["kind"])})


def _audit_detail(label: str, app_id: str | None) -> dict[str, str]:
    return {"label": label} | ({"app_id": app_id} if app_id else {})
