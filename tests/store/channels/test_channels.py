"""Channels in the store: one of Apple's for each bundle identifier; deliveries are claimed and settled once."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from relay.core.accounts import Environment
from relay.core.channels import ChannelPush, ChannelTopic
from relay.core.delivery.sending import PushHeaders
from relay.core.errors import Unavailable
from relay.core.ids import new_id
from relay.store.channels import channel_queue
from relay.store.channels.channel_queue import Delivery, Settled
from relay.store.channels.channels import Channel, ChannelRepository
from relay.store.database import Connection, Database
from relay.store.operations.audit import Actor
from relay.store.partitions import PartitionKeeper
from tests.eventually import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
HERE, THERE = uuid4(), uuid4()
TEAM = "TEAM000001"
ACTOR = Actor("operator", None)


def topic(bundle_id: str = "com.example.a") -> ChannelTopic:
    return ChannelTopic(TEAM, Environment.PRODUCTION, bundle_id)


async def made(database: Database, app_id: str = "app", bundle_ids: int = 1) -> UUID:
    """A channel that copies with so many bundle identifiers have asked for."""
    channel = Channel(app_id, uuid4(), True, NOW)
    channels = ChannelRepository(database)
    assert await channels.add(channel, None, ACTOR)
    for number in range(bundle_ids):
        bundle_id = f"com.example.{number}"
        kept = await channels.keep(app_id, channel.channel_id, topic(bundle_id), f"apple-{number}", NOW)
        assert kept == f"apple-{number}"
    return channel.channel_id


async def push(
    database: Database, channel_id: UUID, app_id: str = "app", most_waiting: int = 100
) -> UUID | None:
    headers = PushHeaders("liveactivity", 10, 0)
    one = ChannelPush(
        new_id(NOW, secrets.token_bytes), uuid4(), NOW, NOW + timedelta(hours=1), headers, b"{}"
    )
    targets = await ChannelRepository(database).push(app_id, channel_id, one, most_waiting)
    return None if targets is None else one.push_id


async def claim(
    database: Database, owner: UUID = HERE, now: datetime = NOW, most: int = 100
) -> list[Delivery]:
    async with database.connection() as connection:
        return await channel_queue.claim(connection, owner, now, now + timedelta(seconds=30), most)


async def settle(database: Database, owner: UUID, *settled: Settled) -> None:
    async with database.connection() as connection:
        await channel_queue.settle(connection, owner, settled)


async def outcomes(database: Database, channel_id: UUID, push_id: UUID) -> list[tuple[str, str, int]]:
    found = await ChannelRepository(database).read(["app"], channel_id, push_id)
    assert found is not None
    return found[1]


def delivered(delivery: Delivery) -> Settled:
    return Settled(delivery, 0, None, "delivered", 200, "")


async def test_the_first_of_apples_channels_holds_and_others_are_to_be_deleted(database: Database) -> None:
    channels, channel_id = ChannelRepository(database), await made(database)
    assert await channels.keep("app", channel_id, topic("com.example.0"), "late", NOW) == "apple-0"
    assert await channels.keep("app", channel_id, topic("com.example.1"), "other", NOW) == "other"
    gone = uuid4()
    assert await channels.keep("app", gone, topic(), "of a deleted one", NOW) is None
    async with database.connection() as connection:
        removals = await channel_queue.claim_removals(connection, NOW, LATER, 10)
        assert {one.apns_channel_id for one in removals} == {"late", "of a deleted one"}
        assert await channel_queue.claim_removals(connection, NOW, LATER, 10) == [], "under a lease"
        [again] = await channel_queue.claim_removals(connection, LATER, LATER, 1)
        await channel_queue.forget(connection, removals)
        assert await channel_queue.claim_removals(connection, LATER, LATER, 10) == []
    assert again.attempt == 0


async def test_a_removal_is_postponed(database: Database) -> None:
    channels, channel_id = ChannelRepository(database), await made(database)
    assert await channels.delete("app", channel_id, None, NOW, ACTOR)
    assert not await channels.delete("app", channel_id, None, NOW, ACTOR)
    async with database.connection() as connection:
        [channel] = await channel_queue.claim_removals(connection, NOW, NOW, 10)
        await channel_queue.postpone(connection, channel, LATER, 1)
        assert await channel_queue.claim_removals(connection, NOW, LATER, 10) == []
        [channel] = await channel_queue.claim_removals(connection, LATER, LATER, 10)
    assert channel.attempt == 1


async def test_a_delivery_is_claimed_once_and_again_when_its_lease_ends(database: Database) -> None:
    channel_id = await made(database, bundle_ids=3)
    push_id = await push(database, channel_id)
    assert push_id is not None
    first = await claim(database)
    assert len(first) == 3
    assert await claim(database, THERE) == []
    taken_over = await claim(database, THERE, LATER)
    assert len(taken_over) == 3
    await settle(database, HERE, *map(delivered, first))
    assert await outcomes(database, channel_id, push_id) == [], "the lease was lost"
    await settle(database, THERE, *map(delivered, taken_over))
    assert await outcomes(database, channel_id, push_id) == [("delivered", "", 3)]
    assert await claim(database, HERE, LATER + timedelta(days=1)) == []


async def test_a_retry_is_due_later_and_counts(database: Database) -> None:
    await push(database, await made(database))
    [delivery] = await claim(database)
    await settle(database, HERE, Settled(delivery, 1, LATER, None, 503, "ServiceUnavailable"))
    assert await claim(database, THERE) == []
    [again] = await claim(database, THERE, LATER)
    assert again.attempt == 1


async def test_a_clean_end_hands_back(database: Database) -> None:
    channel_id = await made(database, bundle_ids=2)
    await push(database, channel_id)
    one, _ = await claim(database)
    await settle(database, HERE, delivered(one))
    async with database.connection() as connection:
        await channel_queue.release(connection, HERE, NOW)
    assert len(await claim(database, THERE)) == 1


async def test_a_crowd_leaves_room_for_others(database: Database) -> None:
    await push(database, await made(database, "crowd", 50), "crowd")
    await push(database, await made(database, "quiet"), "quiet")
    assert {one.channel.app_id for one in await claim(database, most=4)} == {"crowd", "quiet"}


async def test_an_app_may_have_only_so_much_waiting(database: Database) -> None:
    channel_id = await made(database, bundle_ids=2)
    await push(database, channel_id, most_waiting=2)
    with pytest.raises(Unavailable):
        await push(database, channel_id, most_waiting=2)
    await settle(database, HERE, *map(delivered, await claim(database)))
    assert await push(database, channel_id, most_waiting=2) is not None


async def test_what_waits_goes_with_its_channel(database: Database) -> None:
    channel_id = await made(database, bundle_ids=2)
    await push(database, channel_id)
    claimed = await claim(database)
    await ChannelRepository(database).delete("app", channel_id, None, NOW, ACTOR)
    assert await push(database, channel_id) is None
    await settle(database, HERE, *map(delivered, claimed))
    assert await claim(database, THERE, LATER) == []


async def test_what_is_stored_while_its_channel_is_deleted_goes_too(database: Database) -> None:
    channels, channel_id = ChannelRepository(database), await made(database)
    headers = PushHeaders("liveactivity", 10, 0)
    sent = ChannelPush(new_id(NOW, secrets.token_bytes), uuid4(), NOW, LATER, headers, b"{}")
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        # Rows that both of the following have to wait for, so that they are in the middle of their work.
        await connection.execute(
            "INSERT INTO apple_channel VALUES ('app', $1, 'production', 'com.example.new', 'new', $2, $3)",
            channel_id,
            TEAM,
            NOW,
        )
        await connection.execute(
            "INSERT INTO channel_push VALUES ('app', $1, $2, $2, $3, $3, 10, 0, '', 0)",
            sent.push_id,
            channel_id,
            NOW,
        )
        keeping = asyncio.create_task(channels.keep("app", channel_id, topic("com.example.new"), "new", NOW))
        pushing = asyncio.create_task(channels.push("app", channel_id, sent, 100))
        await waiting(connection, 2)
        deleting = asyncio.create_task(channels.delete("app", channel_id, None, NOW, ACTOR))
        await waiting(connection, 3)
        await transaction.rollback()
    await asyncio.gather(keeping, pushing, deleting)
    async with database.connection() as connection:
        removals = await channel_queue.claim_removals(connection, NOW, LATER, 10)
        assert {one.apns_channel_id for one in removals} == {"apple-0", "new"}
        for table in ("channel_push", "channel_delivery"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def waiting(connection: Connection, count: int) -> None:
    """Wait until `count` transactions wait for a lock."""

    async def enough_wait() -> bool:
        return await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") >= count

    await eventually(enough_wait)


async def test_old_pushes_go_with_the_partitions_of_their_time(database: Database) -> None:
    push_id = await push(database, await made(database))
    assert push_id is not None
    await claim(database)
    await PartitionKeeper(database).keep_partitions(NOW, timedelta(days=1))
    await PartitionKeeper(database).keep_partitions(NOW + timedelta(days=400), timedelta(days=1))
    async with database.connection() as connection:
        for table in ("channel_push", "channel_delivery"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
        assert await connection.fetchval("SELECT count(*) FROM channel") == 1
