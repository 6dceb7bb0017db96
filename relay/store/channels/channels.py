"""Broadcast channels as their publishers see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from relay.store import sql
from relay.store.channels.records import Channel
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

MAX_CHANNELS_PER_APP = 10_000
"""As many as Apple allows for each bundle identifier in an environment."""
_NIL_UUID = UUID(int=0)
_SQL = sql.load(__package__, "channels.sql")


class ChannelRepository:
    """The channels of all apps. `app_ids` are the apps that the caller may see.

    Every method raises Unavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_channel(self, channel: Channel, publisher_id: UUID | None, actor: Actor) -> bool:
        """Store a channel. Returns False if its app has `MAX_CHANNELS_PER_APP` already."""
        async with self._database.transaction() as connection:
            status = await connection.execute(
                _SQL["create_channel"],
                channel.app_id,
                channel.channel_id,
                channel.message_storage,
                channel.created_at,
                MAX_CHANNELS_PER_APP,
            )
            if str(status) != "INSERT 0 1":
                return False
            entry = _audit_entry(
                AuditAction.CHANNEL_CREATED, channel.app_id, channel.channel_id, publisher_id
            )
            await audit.write_entries(connection, actor, channel.created_at, entry)
        return True

    async def list_channels(self, app_ids: Sequence[str], after: UUID | None, limit: int) -> list[Channel]:
        """Return up to `limit` channels that follow the channel `after`, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_channels"], app_ids, after or _NIL_UUID, limit)
        return [Channel(**row) for row in rows]

    async def find_channel(self, app_ids: Sequence[str], channel_id: UUID) -> Channel | None:
        """Return the channel with that id if it belongs to one of these apps."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find_channel"], app_ids, channel_id)
        return Channel(**row) if row else None

    async def delete_channel(
        self, app_id: str, channel_id: UUID, publisher_id: UUID | None, now: datetime, actor: Actor
    ) -> bool:
        """Delete a channel with its pushes, and have its channels at Apple removed from `now` on.

        Returns False if the app has no such channel.
        """
        async with self._database.transaction() as connection:
            if not await connection.fetchval(_SQL["lock_channel_for_deletion"], app_id, channel_id):
                return False
            await connection.execute(_SQL["delete_channel"], app_id, channel_id, now)
            entry = _audit_entry(AuditAction.CHANNEL_DELETED, app_id, channel_id, publisher_id)
            await audit.write_entries(connection, actor, now, entry)
        return True


def _audit_entry(action: AuditAction, app_id: str, channel_id: UUID, publisher_id: UUID | None) -> AuditEntry:
    return AuditEntry(action, str(channel_id), publisher_id, {"app_id": app_id})
