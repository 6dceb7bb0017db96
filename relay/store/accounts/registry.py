"""Publishers and their apps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from relay.store.accounts.auth import NewToken, insert_token
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, Entry

_NIL = UUID(int=0)

_INSERT_APP = """
INSERT INTO app (app_id, publisher_id, name, created_at)
SELECT $1, publisher_id, $3, $4 FROM publisher WHERE publisher_id = $2
ON CONFLICT DO NOTHING
"""
_PUBLISHERS = """
SELECT publisher_id, name, created_at FROM publisher WHERE publisher_id > $1 ORDER BY publisher_id LIMIT $2
"""
_APP_COUNTS = (
    "SELECT publisher_id, count(*) FROM app WHERE publisher_id = ANY($1::uuid[]) GROUP BY publisher_id"
)
_APPS = """
SELECT app_id, publisher_id, name, created_at, installations_attach_aliases FROM app
WHERE app_id > $1 AND ($3::uuid IS NULL OR publisher_id = $3) ORDER BY app_id LIMIT $2
"""
_APP = """
SELECT app_id, publisher_id, name, created_at, installations_attach_aliases FROM app
WHERE app_id = $1 AND publisher_id = $2
"""
_LOCK_APP = _APP + "FOR NO KEY UPDATE"
_CHANGE_APP = "UPDATE app SET installations_attach_aliases = $2 WHERE app_id = $1"


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who owns apps."""

    publisher_id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class App:
    """An app of a publisher; `app_id` is the scope of its customer and device identifiers.

    `installations_attach_aliases`: its copies may say which addresses their customer has.
    """

    app_id: str
    publisher_id: UUID
    name: str
    created_at: datetime
    installations_attach_aliases: bool = False


class PublisherRepository:
    """Publishers and apps. There are few of them: thousands, not millions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_publisher(
        self, publisher: Publisher, manage_token: str, token_id: UUID, actor: Actor
    ) -> None:
        """Store a publisher together with its first manage_ token."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO publisher (publisher_id, name, created_at) VALUES ($1, $2, $3)",
                publisher.publisher_id,
                publisher.name,
                publisher.created_at,
            )
            own_id, detail = publisher.publisher_id, {"name": publisher.name}
            entry = Entry(AuditAction.PUBLISHER_CREATED, str(own_id), own_id, detail)
            await audit.write(connection, actor, publisher.created_at, entry)
            await insert_token(
                connection,
                NewToken(kind="manage", publisher_id=own_id),
                manage_token,
                token_id,
                publisher.created_at,
                actor,
            )

    async def publishers(self, after: UUID | None, limit: int) -> list[Publisher]:
        """Up to `limit` publishers that follow `after`, in the order of their ids (oldest first)."""
        async with self._database.connection() as connection:
            return [Publisher(**row) for row in await connection.fetch(_PUBLISHERS, after or _NIL, limit)]

    async def publisher(self, publisher_id: UUID) -> Publisher | None:
        """One publisher, or None."""
        sql = "SELECT publisher_id, name, created_at FROM publisher WHERE publisher_id = $1"
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql, publisher_id)
        return Publisher(**row) if row else None

    async def app_counts(self, publisher_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How many apps each of these publishers has; who has none is not in it."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_APP_COUNTS, publisher_ids)
        return {row["publisher_id"]: row["count"] for row in rows}

    async def has_publisher(self, publisher_id: UUID) -> bool:
        """Whether there is such a publisher."""
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval("SELECT true FROM publisher WHERE publisher_id = $1", publisher_id)
            )

    async def add_app(self, app: App, actor: Actor) -> bool:
        """Store an app of an existing publisher. False if its app_id is taken: nothing is stored then."""
        async with self._database.transaction() as connection:
            status = await connection.execute(
                _INSERT_APP, app.app_id, app.publisher_id, app.name, app.created_at
            )
            if str(status) != "INSERT 0 1":
                return False
            entry = Entry(AuditAction.APP_CREATED, app.app_id, app.publisher_id, {"name": app.name})
            await audit.write(connection, actor, app.created_at, entry)
            return True

    async def apps(self, after: str, limit: int, publisher_id: UUID | None = None) -> list[App]:
        """Up to `limit` apps that follow `after`, in the order of app_id; of one publisher if it is given."""
        async with self._database.connection() as connection:
            return [App(**row) for row in await connection.fetch(_APPS, after, limit, publisher_id)]

    async def app(self, publisher_id: UUID, app_id: str) -> App | None:
        """That app. None if the publisher has no such app."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_APP, app_id, publisher_id)
        return App(**row) if row else None

    async def change_app(
        self, publisher_id: UUID, app_id: str, attach_aliases: bool | None, now: datetime, actor: Actor
    ) -> App | None:
        """Change what is not None. None if the publisher has no such app."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_LOCK_APP, app_id, publisher_id)
            if row is None:
                return None
            before = App(**row)
            if attach_aliases is None or attach_aliases == before.installations_attach_aliases:
                return before
            await connection.execute(_CHANGE_APP, app_id, attach_aliases)
            detail = {"installations_attach_aliases": str(attach_aliases).lower()}
            await audit.write(
                connection, actor, now, Entry(AuditAction.APP_CHANGED, app_id, publisher_id, detail)
            )
            return replace(before, installations_attach_aliases=attach_aliases)

    async def owns(self, publisher_id: UUID, app_id: str) -> bool:
        """Whether that app is the publisher's."""
        async with self._database.connection() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT true FROM app WHERE app_id = $1 AND publisher_id = $2", app_id, publisher_id
                )
            )
