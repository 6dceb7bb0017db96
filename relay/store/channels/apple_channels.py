"""The channels at Apple that a channel stands for: one for each bundle identifier in an environment.

One is created when the first installation with that bundle identifier asks for it, and removed at Apple after its
channel was deleted here. `remove_at` is the time of the next attempt to remove it; during an attempt it is the end of
the lease of the node that tries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from relay.core.accounts import Environment
from relay.core.channels import ChannelTopic
from relay.store import sql
from relay.store.channels.records import AppleChannel, InstallationChannel
from relay.store.database import Connection, Database

_SQL = sql.load(__package__, "apple_channels.sql")


class AppleChannelRepository:
    """The channels at Apple, of all apps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_channel_for_installation(
        self, app_id: str, channel_id: UUID, topic: ChannelTopic
    ) -> InstallationChannel | None:
        """Return the channel for installations with that topic, or None if the app has no such channel.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _SQL["find_channel_for_installation"],
                app_id,
                channel_id,
                topic.environment.value,
                topic.bundle_id,
            )
        return InstallationChannel(*row) if row else None

    async def store_apple_channel(
        self, app_id: str, channel_id: UUID, topic: ChannelTopic, apns_channel_id: str, now: datetime
    ) -> str | None:
        """Store a channel that was created at Apple. Returns the id of the one that is used from now on.

        That may be one that another node stored earlier, or None if the channel was deleted meanwhile. The channel
        `apns_channel_id` is then to be removed at Apple.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.transaction() as connection:
            exists = await connection.fetchval(_SQL["lock_channel"], app_id, channel_id)
            columns = (
                app_id,
                channel_id,
                topic.environment.value,
                topic.bundle_id,
                apns_channel_id,
                topic.team_id,
            )
            statement = _SQL["store_apple_channel"]
            if exists and await connection.execute(statement, *columns, now, None) == "INSERT 0 1":
                return apns_channel_id
            await connection.execute(statement, *columns, now, now)
        stored = await self.find_channel_for_installation(app_id, channel_id, topic)
        return stored.apns_channel_id if stored else None

    async def lease_removals(
        self, now: datetime, lease_end: datetime, max_channels: int
    ) -> list[AppleChannel]:
        """Return up to `max_channels` channels to be removed at Apple. Other nodes leave them until `lease_end`.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["lease_removals"], now, lease_end, max_channels)
        return [
            AppleChannel(row[0], row[1], ChannelTopic(row[2], Environment(row[3]), row[4]), row[5], row[6])
            for row in rows
        ]

    async def postpone_removal(self, channel: AppleChannel, remove_at: datetime, attempt: int) -> None:
        """Have the removal of a channel tried again at `remove_at`, after `attempt` failed attempts.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            await connection.execute(
                _SQL["postpone_removal"], [_apple_channel_row(channel, remove_at, attempt)]
            )

    async def forget_apple_channels(self, connection: Connection, channels: Sequence[AppleChannel]) -> None:
        """Delete channels that no longer exist at Apple."""
        rows = [_apple_channel_row(channel, None, 0) for channel in channels]
        await connection.execute(_SQL["forget_apple_channels"], rows)


def _apple_channel_row(
    channel: AppleChannel, remove_at: datetime | None, attempt: int
) -> tuple[str, UUID, str, str, str, datetime | None, int]:
    """Return the channel as a value of the composite type `apple_channel_row`."""
    topic = channel.topic
    return (
        channel.app_id,
        channel.channel_id,
        topic.environment.value,
        topic.bundle_id,
        channel.apns_channel_id,
        remove_at,
        attempt,
    )
