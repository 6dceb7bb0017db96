"""Channels: deleted with their pushes, also with those that are stored meanwhile."""

from __future__ import annotations

import asyncio

from relay.store.database import Connection
from tests.eventually import eventually
from tests.store.channels.stored_channels import (
    HERE,
    LATER,
    NOW,
    TEAM,
    THERE,
    StoredChannels,
    channel_push,
    delivered,
    topic,
)


async def test_a_channel_is_deleted_once(stored: StoredChannels) -> None:
    channel_id = await stored.create()
    assert await stored.delete(channel_id)
    assert not await stored.delete(channel_id)


async def test_waiting_deliveries_are_deleted_with_their_channel(stored: StoredChannels) -> None:
    channel_id = await stored.create(bundle_ids=2)
    await stored.push(channel_id)
    leased = await stored.lease()
    await stored.delete(channel_id)
    assert await stored.push(channel_id) is None
    await stored.settle(HERE, *map(delivered, leased))
    assert await stored.lease(THERE, LATER) == []


async def test_rows_stored_while_their_channel_is_deleted_are_deleted_too(stored: StoredChannels) -> None:
    channel_id = await stored.create()
    push = channel_push()
    async with stored.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        # Rows that conflict with those of both tasks below, so that both wait in the middle of their work.
        await connection.execute(
            "INSERT INTO apple_channel VALUES ('app', $1, 'production', 'com.example.new', 'new', $2, $3)",
            channel_id,
            TEAM,
            NOW,
        )
        await connection.execute(
            "INSERT INTO channel_push VALUES ('app', $1, $2, $2, $3, $3, 10, 0, '', 0)",
            push.push_id,
            channel_id,
            NOW,
        )
        storing = asyncio.create_task(
            stored.apple_channels.store_apple_channel("app", channel_id, topic("com.example.new"), "new", NOW)
        )
        pushing = asyncio.create_task(stored.pushes.store_channel_push("app", channel_id, push, 100))
        await until_blocked(connection, 2)
        deleting = asyncio.create_task(stored.delete(channel_id))
        await until_blocked(connection, 3)
        await transaction.rollback()
    await asyncio.gather(storing, pushing, deleting)
    removals = await stored.apple_channels.lease_removals(NOW, LATER, 10)
    assert {channel.apns_channel_id for channel in removals} == {"apple-0", "new"}
    async with stored.database.connection() as connection:
        for table in ("channel_push", "channel_delivery"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def until_blocked(connection: Connection, transactions: int) -> None:
    """Return when that number of transactions wait for a lock."""

    async def enough_wait() -> bool:
        return await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") >= transactions

    await eventually(enough_wait)
