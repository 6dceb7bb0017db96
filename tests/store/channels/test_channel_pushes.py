"""Pushes to channels: deliveries are leased by one node at a time and settled once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from relay.core.errors import Unavailable
from relay.store.channels.records import SettledChannelDelivery
from relay.store.partitions import PartitionKeeper
from tests.store.channels.stored_channels import HERE, LATER, NOW, THERE, StoredChannels, delivered


async def test_a_delivery_is_leased_once_and_again_when_its_lease_ends(stored: StoredChannels) -> None:
    channel_id = await stored.create(bundle_ids=3)
    push_id = await stored.push(channel_id)
    assert push_id is not None
    leased = await stored.lease()
    assert len(leased) == 3
    assert await stored.lease(THERE) == []
    taken_over = await stored.lease(THERE, LATER)
    assert len(taken_over) == 3
    await stored.settle(HERE, *map(delivered, leased))
    assert await stored.outcomes(channel_id, push_id) == [], "the lease was lost"
    await stored.settle(THERE, *map(delivered, taken_over))
    assert await stored.outcomes(channel_id, push_id) == [("delivered", "", 3)]
    assert await stored.lease(HERE, LATER + timedelta(days=1)) == []


async def test_a_retry_is_due_later_and_counts_attempts(stored: StoredChannels) -> None:
    await stored.push(await stored.create())
    [delivery] = await stored.lease()
    retry = SettledChannelDelivery(delivery, 1, LATER, None, 503, "ServiceUnavailable")
    await stored.settle(HERE, retry)
    assert await stored.lease(THERE) == []
    [retried] = await stored.lease(THERE, LATER)
    assert retried.attempt == 1


async def test_a_node_that_shuts_down_releases_its_deliveries(stored: StoredChannels) -> None:
    await stored.push(await stored.create(bundle_ids=2))
    delivery, _ = await stored.lease()
    await stored.settle(HERE, delivered(delivery))
    await stored.pushes.release_deliveries(HERE, NOW)
    assert len(await stored.lease(THERE)) == 1


async def test_an_app_with_many_deliveries_leaves_room_for_others(stored: StoredChannels) -> None:
    await stored.push(await stored.create("crowd", 50), "crowd")
    await stored.push(await stored.create("quiet"), "quiet")
    leased = await stored.lease(max_deliveries=4)
    assert {delivery.channel.app_id for delivery in leased} == {"crowd", "quiet"}


async def test_the_waiting_deliveries_of_an_app_have_a_limit(stored: StoredChannels) -> None:
    channel_id = await stored.create(bundle_ids=2)
    await stored.push(channel_id, max_waiting=2)
    with pytest.raises(Unavailable):
        await stored.push(channel_id, max_waiting=2)
    await stored.settle(HERE, *map(delivered, await stored.lease()))
    assert await stored.push(channel_id, max_waiting=2) is not None


async def test_pushes_are_dropped_with_the_partitions_of_their_day(stored: StoredChannels) -> None:
    await stored.push(await stored.create())
    await stored.lease()
    keeper = PartitionKeeper(stored.database)
    await keeper.keep_partitions(NOW, timedelta(days=1))
    await keeper.keep_partitions(NOW + timedelta(days=400), timedelta(days=1))
    async with stored.database.connection() as connection:
        for table, rows in (("channel_push", 0), ("channel_delivery", 0), ("channel", 1)):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == rows
