"""API tokens: made, looked up by digest, revoked; and the short memory that spares a query for each request.

A token is its kind, "_", and 48 characters of base64url: 32 random bytes and 4 bytes of CRC-32, so that a scanner
(and we) can tell a leaked token from a random word. Only its SHA-256 is stored: 256 random bits need no slow hash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.core.clock import Clock
from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, Entry

KINDS = ("push", "manage", "operator")


@dataclass(frozen=True, slots=True)
class ApiToken:
    """Who is calling. `app_id` is set for a push token, `publisher_id` for push and manage tokens.

    `broadcast`: it may push to every customer of its app at once.
    """

    token_id: UUID
    kind: str
    publisher_id: UUID | None
    app_id: str | None
    test_only: bool
    broadcast: bool
    expires_at: datetime | None

    @property
    def actor(self) -> Actor:
        """Its holder in the audit log."""
        return Actor("operator" if self.kind == "operator" else "publisher", self.token_id)


def make_token(kind: str, random: bytes) -> str:
    """The text of a token of that kind from 32 random bytes."""
    return f"{kind}_{base64.urlsafe_b64encode(random + zlib.crc32(random).to_bytes(4, 'big')).decode()}"


def kind_of(text: str) -> str | None:
    """The kind of a well-formed token, or None for anything else. No query, no secret compared."""
    kind, _, rest = text.partition("_")
    if kind not in KINDS or len(rest) != 48 or not rest.isascii():
        return None
    try:
        raw = base64.b64decode(rest, altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return kind if zlib.crc32(raw[:32]).to_bytes(4, "big") == raw[32:] else None


def digest(text: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(text.encode()).digest()


_LOOK_UP = """
SELECT token_id, kind, publisher_id, app_id, test_only, broadcast, expires_at
FROM api_token WHERE digest = $1 AND revoked_at IS NULL
"""
_INSERT = """
INSERT INTO api_token (digest, token_id, kind, publisher_id, app_id, label, test_only, broadcast, created_at,
                       expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
# Locked in one order, so that two nodes never wait for each other.
_WRITE_LAST_USED = """
UPDATE api_token t SET last_used_at = greatest(t.last_used_at, u.at) FROM (
    SELECT a.token_id, n.at
    FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, at) JOIN api_token a ON a.token_id = n.id
    ORDER BY a.token_id FOR UPDATE OF a
) u
WHERE t.token_id = u.token_id
"""


class ApiTokens:
    """Looks tokens up, remembering what it found for `memory` seconds.

    A revocation reaches this node at once, and others when they are told by `tell` (they call `forget`), or when
    their memory ends.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        memory: float = 2.0,
        *,
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._memory = memory
        self._tell = tell
        self._known: dict[bytes, tuple[float, ApiToken | None]] = {}
        """By digest, as in the database: no token is kept, and none is compared with what a caller sends."""
        self._used: dict[UUID, datetime] = {}
        self._revocations = 0

    async def find(self, text: str) -> ApiToken | None:
        """The token's meaning, or None if it is unknown, revoked or expired."""
        now = self._clock.now()
        key = digest(text)
        entry = self._known.get(key)
        if entry is None or entry[0] < now.timestamp():
            entry = await self._look_up(text, key, now)
        return self._valid(entry[1], now)

    def remembered(self, text: str) -> ApiToken | None:
        """The same without asking the database: also None if it would have to be asked."""
        now = self._clock.now()
        entry = self._known.get(digest(text))
        return None if entry is None or entry[0] < now.timestamp() else self._valid(entry[1], now)

    def _valid(self, token: ApiToken | None, now: datetime) -> ApiToken | None:
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        self._used[token.token_id] = now
        return token

    async def _look_up(self, text: str, key: bytes, now: datetime) -> tuple[float, ApiToken | None]:
        row = None
        revocations = self._revocations
        if kind_of(text) is not None:
            async with self._database.connection() as connection:
                row = await connection.fetchrow(_LOOK_UP, key)
        entry = (now.timestamp() + self._memory, ApiToken(**row) if row else None)
        # Unknown tokens are not remembered: a caller could fill the memory with them. Nor is what may have been read
        # before a revocation.
        if row and revocations == self._revocations:
            self._known[key] = entry
        return entry

    def revoked(self) -> None:
        """A token was revoked here."""
        self.forget()
        self._tell()

    def forget(self) -> None:
        """Forget everything remembered: after a revocation, here or elsewhere."""
        self._revocations += 1
        self._known.clear()

    async def write_last_used(self) -> None:
        """Write when tokens were used last, in one statement. Called every minute or so."""
        now = self._clock.now().timestamp()
        self._known = {key: entry for key, entry in self._known.items() if entry[0] >= now}
        used = dict(self._used)
        if used:
            async with self._database.connection() as connection:
                await connection.execute(_WRITE_LAST_USED, list(used), list(used.values()))
        for token_id, at in used.items():
            if self._used[token_id] == at:  # not used again meanwhile
                del self._used[token_id]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """What a token to be made may do."""

    kind: str
    publisher_id: UUID | None = None
    app_id: str | None = None
    label: str = ""
    test_only: bool = False
    broadcast: bool = False
    expires_at: datetime | None = None


async def insert_token(
    connection: Connection, new: NewToken, text: str, token_id: UUID, now: datetime, actor: Actor
) -> None:
    """Store the digest of `text` with what the token may do, in a transaction with its audit entry."""
    await connection.execute(
        _INSERT,
        digest(text),
        token_id,
        new.kind,
        new.publisher_id,
        new.app_id,
        new.label,
        new.test_only,
        new.broadcast,
        now,
        new.expires_at,
    )
    detail = token_detail(new.label, new.app_id)
    created = AuditAction(f"{new.kind}_token.created")
    await audit.write(connection, actor, now, Entry(created, str(token_id), new.publisher_id, detail))


def token_detail(label: str, app_id: str | None) -> dict[str, str]:
    """What the audit log says of a token beside its id."""
    return {"label": label} | ({"app_id": app_id} if app_id else {})
