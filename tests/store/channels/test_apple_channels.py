"""Channels at Apple: one for each bundle identifier, and removals until they succeed."""

from __future__ import annotations

from uuid import uuid4

from tests.store.channels.stored_channels import LATER, NOW, StoredChannels, topic


async def test_the_first_channel_at_apple_is_used_and_others_are_removed(stored: StoredChannels) -> None:
    channel_id = await stored.create()
    store = stored.apple_channels.store_apple_channel
    assert await store("app", channel_id, topic("com.example.0"), "late", NOW) == "apple-0"
    assert await store("app", channel_id, topic("com.example.1"), "other", NOW) == "other"
    assert await store("app", uuid4(), topic(), "of a deleted channel", NOW) is None
    removals = await stored.apple_channels.lease_removals(NOW, LATER, 10)
    assert {channel.apns_channel_id for channel in removals} == {"late", "of a deleted channel"}
    assert await stored.apple_channels.lease_removals(NOW, LATER, 10) == [], "they are leased"
    [leased_again] = await stored.apple_channels.lease_removals(LATER, LATER, 1)
    assert leased_again.attempt == 0
    async with stored.database.connection() as connection:
        await stored.apple_channels.forget_apple_channels(connection, removals)
    assert await stored.apple_channels.lease_removals(LATER, LATER, 10) == []


async def test_a_removal_is_postponed(stored: StoredChannels) -> None:
    channel_id = await stored.create()
    assert await stored.delete(channel_id)
    [channel] = await stored.apple_channels.lease_removals(NOW, NOW, 10)
    await stored.apple_channels.postpone_removal(channel, LATER, 1)
    assert await stored.apple_channels.lease_removals(NOW, LATER, 10) == []
    [channel] = await stored.apple_channels.lease_removals(LATER, LATER, 10)
    assert channel.attempt == 1
