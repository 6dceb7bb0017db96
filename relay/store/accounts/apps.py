"""Apps of publishers. There are thousands of them, not millions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from relay.core.ids import AppId, PublisherId
from relay.store import sql
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

_SQL = sql.load(__package__, "apps.sql")


@dataclass(frozen=True, slots=True)
class App:
    """An app of a publisher. `app_id` is the scope of its customer and device identifiers.

    `installations_attach_aliases`: installations of the app may change the aliases of their customer.
    """

    app_id: AppId
    publisher_id: PublisherId
    name: str
    created_at: datetime
    installations_attach_aliases: bool = False


class AppRepository:
    """The stored apps of all publishers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_app(self, app: App, actor: Actor) -> bool:
        """Store an app of an existing publisher. Returns False, and stores nothing, if its `app_id` is taken."""
        async with self._database.transaction() as connection:
            status = await connection.execute(
                _SQL["insert"], app.app_id, app.publisher_id, app.name, app.created_at
            )
            if str(status) != "INSERT 0 1":
                return False
            entry = AuditEntry(AuditAction.APP_CREATED, app.app_id, app.publisher_id, {"name": app.name})
            await audit.write_entries(connection, actor, app.created_at, entry)
            return True

    async def list_apps(self, after: str, limit: int, publisher_id: UUID | None = None) -> list[App]:
        """Return up to `limit` apps whose `app_id` follows `after`, in its order; of one publisher if it is given."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list"], after, limit, publisher_id)
        return [App(**row) for row in rows]

    async def list_app_ids(self, publisher_id: UUID) -> list[str]:
        """Return the ids of all apps of a publisher, in no particular order."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_app_ids"], publisher_id)
        return [row[0] for row in rows]

    async def count_apps(self, publisher_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return the number of apps by publisher. Publishers without apps are not in it."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["count_by_publisher"], publisher_ids)
        return {row["publisher_id"]: row["count"] for row in rows}

    async def find_app(self, publisher_id: UUID, app_id: str) -> App | None:
        """Return an app, or None if the publisher has no such app."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find"], app_id, publisher_id)
        return App(**row) if row else None

    async def owns_app(self, publisher_id: UUID, app_id: str) -> bool:
        """Return whether the publisher has that app."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_SQL["is_owned"], app_id, publisher_id))

    async def change_app(
        self, publisher_id: UUID, app_id: str, attach_aliases: bool | None, now: datetime, actor: Actor
    ) -> App | None:
        """Change what is not None and return the app, or None if the publisher has no such app."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_SQL["lock"], app_id, publisher_id)
            if row is None:
                return None
            app = App(**row)
            if attach_aliases is None or attach_aliases == app.installations_attach_aliases:
                return app
            await connection.execute(_SQL["change"], app_id, attach_aliases)
            detail = {"installations_attach_aliases": str(attach_aliases).lower()}
            await audit.write_entries(
                connection, actor, now, AuditEntry(AuditAction.APP_CHANGED, app_id, publisher_id, detail)
            )
            return replace(app, installations_attach_aliases=attach_aliases)
