"""Channels that are to be deleted at Apple: none is forgotten while it may still be there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from relay.core.accounts import Environment
from relay.core.channels import ChannelTopic, CreatedChannel
from relay.core.delivery.sending import Answer, Credential, Fate
from relay.core.push.apns_headers import PushHeaders
from relay.dispatch.channels import ChannelDispatcher
from relay.dispatch.credential_cache import CredentialCache
from relay.settings import DispatchSettings
from relay.store.accounts.credentials import Credentials, NewCredential
from relay.store.channels.apple_channels import AppleChannelRepository
from relay.store.channels.channels import ChannelRepository
from relay.store.channels.records import Channel
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE
from tests.eventually import eventually
from tests.factories import make_new_credential

KEYS = ("a key of more than thirty-two characters",)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=60)
TOPIC = ChannelTopic("TEAM000001", Environment.PRODUCTION, "com.example.a")


class Clock:
    """Stands still: a channel is tried once."""

    def now(self) -> datetime:
        return NOW


class Apple:
    """Implements relay.core.channels.ChannelProvider with one answer to everything."""

    def __init__(self, status: int, reason: str) -> None:
        self.answer = Answer(Fate.ANSWERED, status, reason)

    async def create(
        self, credential: Credential, bundle_id: str, *, message_storage: bool
    ) -> CreatedChannel:
        return CreatedChannel(self.answer)

    async def delete(self, credential: Credential, bundle_id: str, apns_channel_id: str) -> Answer:
        return self.answer

    async def broadcast(
        self,
        credential: Credential,
        bundle_id: str,
        apns_channel_id: str,
        push_id: UUID,
        headers: PushHeaders,
        payload: bytes,
    ) -> Answer:
        return self.answer


async def tried(database: Database, apple: Apple) -> asyncpg.Record | None:
    """What is left of a channel that was to be deleted, after that was tried once."""
    async with database.connection() as connection:
        book = CredentialCache(Credentials(database, KEYS), Clock())
        dispatcher = ChannelDispatcher(
            database,
            book,
            apple,
            Clock(),
            DispatchSettings(),
            uuid4(),
            lambda: 1.0,
            lease=LEASE.total_seconds(),
        )
        running = asyncio.create_task(dispatcher.run())

        async def tried() -> bool:
            remove_at = await connection.fetchval("SELECT remove_at FROM apple_channel")
            return remove_at not in (NOW, NOW + LEASE)

        await eventually(tried)
        row = await connection.fetchrow("SELECT attempt, remove_at FROM apple_channel")
        await dispatcher.aclose(5)
        await running
        return row


async def to_be_deleted(database: Database, attempt: int = 0) -> None:
    channels, channel = ChannelRepository(database), Channel("app", uuid4(), True, NOW)
    assert await channels.create_channel(channel, None, COMMAND_LINE)
    await AppleChannelRepository(database).store_apple_channel(
        "app", channel.channel_id, TOPIC, "apple's", NOW
    )
    await channels.delete_channel("app", channel.channel_id, None, NOW, COMMAND_LINE)
    async with database.connection() as connection:
        await connection.execute("UPDATE apple_channel SET attempt = $1", attempt)


@pytest.fixture
def key() -> NewCredential:
    return make_new_credential(secret="Apple's")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(204, ""), (400, "ChannelNotRegistered"), (400, "BadChannelId")],
)
async def test_what_is_not_at_apple_any_more_is_forgotten(
    database: Database, key: NewCredential, status: int, reason: str
) -> None:
    await Credentials(database, KEYS).put(key, NOW, COMMAND_LINE)
    await to_be_deleted(database)
    assert await tried(database, Apple(status, reason)) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "TopicMismatch"), (403, "Forbidden"), (400, "FeatureNotEnabled"), (404, ""), (503, "Shutdown")],
)
async def test_a_refusal_that_somebody_can_mend_is_tried_again(
    database: Database, key: NewCredential, status: int, reason: str
) -> None:
    await Credentials(database, KEYS).put(key, NOW, COMMAND_LINE)
    await to_be_deleted(database)
    left = await tried(database, Apple(status, reason))
    assert left is not None
    assert left["attempt"] == 1


@pytest.mark.parametrize("suspended", [False, True])
async def test_without_a_credential_it_waits_for_as_long_as_it_takes(
    database: Database, key: NewCredential, suspended: bool
) -> None:
    """A credential that is suspended over a weekend costs no channel: that is not a try."""
    if suspended:
        credentials = Credentials(database, KEYS)
        made = await credentials.put(key, NOW, COMMAND_LINE)
        await credentials.suspend(made.credential_id, "InvalidProviderToken", NOW)
    await to_be_deleted(database, attempt=5)
    left = await tried(database, Apple(204, ""))
    assert left is not None
    assert left["attempt"] == 5
