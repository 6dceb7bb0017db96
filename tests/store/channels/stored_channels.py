"""Channels, and pushes to them, written through the store, for tests of what happens to them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from relay.core.accounts import Environment
from relay.core.channels import ChannelPush, ChannelTopic
from relay.core.delivery.outcomes import Outcome
from relay.core.ids import new_uuid7
from relay.core.push.apns_headers import PushHeaders
from relay.store.channels.apple_channels import AppleChannelRepository
from relay.store.channels.channel_pushes import ChannelPushRepository
from relay.store.channels.channels import ChannelRepository
from relay.store.channels.records import Channel, ChannelDelivery, SettledChannelDelivery
from relay.store.database import Database
from relay.store.operations.audit import Actor

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
LATER = NOW + LEASE
HERE, THERE = uuid4(), uuid4()
TEAM = "TEAM000001"
ACTOR = Actor("operator", None)


def topic(bundle_id: str = "com.example.a") -> ChannelTopic:
    return ChannelTopic(TEAM, Environment.PRODUCTION, bundle_id)


def channel_push() -> ChannelPush:
    headers = PushHeaders("liveactivity", 10, 0)
    return ChannelPush(
        new_uuid7(NOW, secrets.token_bytes), uuid4(), NOW, NOW + timedelta(hours=1), headers, b"{}"
    )


def delivered(delivery: ChannelDelivery) -> SettledChannelDelivery:
    return SettledChannelDelivery(delivery, 0, None, Outcome.DELIVERED, 200, "")


class StoredChannels:
    """The three repositories of channels over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.channels = ChannelRepository(database)
        self.apple_channels = AppleChannelRepository(database)
        self.pushes = ChannelPushRepository(database)

    async def create(self, app_id: str = "app", bundle_ids: int = 1) -> UUID:
        """Create a channel with that number of channels at Apple, named apple-0 and so on."""
        channel = Channel(app_id, uuid4(), True, NOW)
        assert await self.channels.create_channel(channel, None, ACTOR)
        for number in range(bundle_ids):
            used = await self.apple_channels.store_apple_channel(
                app_id, channel.channel_id, topic(f"com.example.{number}"), f"apple-{number}", NOW
            )
            assert used == f"apple-{number}"
        return channel.channel_id

    async def delete(self, channel_id: UUID) -> bool:
        return await self.channels.delete_channel("app", channel_id, None, NOW, ACTOR)

    async def push(self, channel_id: UUID, app_id: str = "app", max_waiting: int = 100) -> UUID | None:
        push = channel_push()
        targets = await self.pushes.store_channel_push(app_id, channel_id, push, max_waiting)
        return None if targets is None else push.push_id

    async def lease(
        self, owner: UUID = HERE, now: datetime = NOW, max_deliveries: int = 100
    ) -> list[ChannelDelivery]:
        return await self.pushes.lease_deliveries(owner, now, now + LEASE, max_deliveries)

    async def settle(self, owner: UUID, *settled: SettledChannelDelivery) -> None:
        async with self.database.connection() as connection:
            await self.pushes.settle_deliveries(connection, owner, settled)

    async def outcomes(self, channel_id: UUID, push_id: UUID) -> list[tuple[str, str, int]]:
        report = await self.pushes.find_channel_push(["app"], channel_id, push_id)
        assert report is not None
        return list(report.outcomes)
