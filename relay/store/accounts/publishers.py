"""Publishers: the owners of apps. There are thousands of them, not millions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.core.accounts import TokenKind
from relay.core.ids import PublisherId
from relay.store import sql
from relay.store.accounts.api_tokens import IssuedToken, NewToken, insert_token
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

_SQL = sql.load(__package__, "publishers.sql")
_NIL = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Publisher:
    """An owner of apps."""

    publisher_id: PublisherId
    name: str
    created_at: datetime


class PublisherRepository:
    """The stored publishers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_publisher(self, publisher: Publisher, manage_token: IssuedToken, actor: Actor) -> None:
        """Store a publisher together with its first manage_ token."""
        publisher_id, detail = publisher.publisher_id, {"name": publisher.name}
        entry = AuditEntry(AuditAction.PUBLISHER_CREATED, str(publisher_id), publisher_id, detail)
        token = NewToken(kind=TokenKind.MANAGE, publisher_id=publisher_id)
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["insert"], publisher_id, publisher.name, publisher.created_at)
            await audit.write_entries(connection, actor, publisher.created_at, entry)
            await insert_token(connection, token, manage_token, actor)

    async def list_publishers(self, after: UUID | None, limit: int) -> list[Publisher]:
        """Return up to `limit` publishers whose ids follow `after`, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list"], after or _NIL, limit)
        return [Publisher(**row) for row in rows]

    async def find_publisher(self, publisher_id: UUID) -> Publisher | None:
        """Return a publisher, or None if there is none with this id."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find"], publisher_id)
        return Publisher(**row) if row else None

    async def publisher_exists(self, publisher_id: UUID) -> bool:
        """Return whether there is a publisher with this id."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_SQL["exists"], publisher_id))
