"""Broadcasts: cut into batches piece by piece, each installation into exactly one batch."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest

from relay.store.database import Database
from relay.store.push.batches import BatchRepository
from tests.store.push.audience import Audience
from tests.store.push.batch_queue import NOW


@pytest.fixture
def audience(database: Database) -> Audience:
    return Audience(database)


async def test_every_reachable_installation_is_in_exactly_one_batch(audience: Audience) -> None:
    await audience.app("app", 100)
    await audience.app("other", 30)
    push = await audience.send("app")
    assert await audience.targets("app", push) == (0, True)
    pieces = await audience.cut_all()
    reachable = await audience.reachable("app")
    assert sum(pieces) == len(reachable)
    assert len(pieces) == 6, "5 pieces of 20 installations, and an empty one that ends the broadcast"
    batches = await audience.batches(push)
    assert Counter(number for batch in batches for number in batch) == Counter(reachable)
    assert max(map(len, batches)) == 5
    assert await audience.targets("app", push) == (len(reachable), False)


async def test_a_short_broadcast_does_not_wait_for_the_end_of_a_long_one(audience: Audience) -> None:
    await audience.app("long", 200)
    await audience.app("short", 10)
    await audience.send("long")
    await audience.cut()
    push = await audience.send("short")
    await audience.cut()
    assert await audience.targets("short", push) == (9, False)


async def test_an_endless_flood_of_broadcasts_does_not_stop_another_app(audience: Audience) -> None:
    """Apps take turns, not broadcasts. Within an app the oldest broadcast comes first."""
    await audience.app("flood", 40)
    await audience.app("victim", 60)
    push = await audience.send("victim")
    first = await audience.send("flood")
    for _ in range(4):
        for _ in range(10):
            await audience.send("flood")
        await audience.cut()
        await audience.cut()
    assert await audience.targets("victim", push) == (len(await audience.reachable("victim")), False)
    assert await audience.targets("flood", first) == (len(await audience.reachable("flood")), False)


async def test_an_app_with_many_due_batches_gets_no_turn(database: Database, audience: Audience) -> None:
    """Batches beyond that would only fill the queue. Cutting goes on when batches have been leased."""
    await audience.app("large", 500)
    await audience.app("other", 10)
    push = await audience.send("large")
    await audience.cut_all(due_limit=10)
    assert 10 <= len(await audience.batches(push)) < 10 + 5
    assert (await audience.targets("large", push))[1], "the broadcast is not cut to its end"
    other = await audience.send("other")
    assert await audience.cut(due_limit=10) == 9, "another app gets its turn"
    assert (await audience.targets("other", other)) == (9, False)
    assert await BatchRepository(database).lease_batches(uuid4(), NOW, NOW + timedelta(minutes=1), 100, 100)
    assert await audience.cut(due_limit=10), "leased batches are not due"
    await audience.cut_all(queue_limit=30)
    assert 30 <= len(await audience.batches(push)) < 30 + 5, "leased batches count against the queue limit"


async def test_a_kind_of_token_that_few_have_does_not_make_a_piece_longer(
    database: Database, audience: Audience
) -> None:
    await audience.app("app", 300)
    async with database.connection() as connection:
        with_voip_token = await connection.fetch(
            "UPDATE device_token SET kind = 'voip' WHERE installation_id % 50 = 1 RETURNING installation_id"
        )
    push = await audience.send("app", "voip")
    await audience.cut(size=100)
    async with database.connection() as connection:
        after = await connection.fetchval(
            "SELECT after - (SELECT min(installation_id) FROM installation) FROM broadcast"
        )
    assert after == 99, "a piece is counted in installations, not in targets"
    await audience.cut_all(size=100)
    reached = {number for batch in await audience.batches(push) for number in batch}
    assert reached == {row[0] for row in with_voip_token} & await audience.reachable("app")


async def test_uncut_broadcasts_count_as_waiting_batches(database: Database, audience: Audience) -> None:
    for _ in range(3):
        await audience.send("app")
    counts = await BatchRepository(database).count_waiting_batches(["app", "other"], 100)
    assert counts == {"app": 3, "other": 0}


async def test_installations_enrolled_while_it_is_cut_are_reached_at_most_once(audience: Audience) -> None:
    await audience.app("app", 60)
    push = await audience.send("app")
    await audience.cut()
    await audience.app("app", 20)
    await audience.cut_all()
    reached = Counter(number for batch in await audience.batches(push) for number in batch)
    assert set(reached.values()) == {1}
    assert set(reached) <= await audience.reachable("app")


async def test_a_dense_batch_resolves_to_its_targets_at_the_time_of_the_lease(
    database: Database, audience: Audience
) -> None:
    """The batch is read as a range of installations, so changes since the cut must show."""
    await audience.app("other", 7)
    await audience.app("app", 80)
    push = await audience.send("app")
    await audience.cut_all()
    targets = await audience.reachable("app")
    batches = BatchRepository(database)
    async with database.connection() as connection:
        # Every tenth had no token at the cut and has one now. Some have lost theirs, some are retired.
        await connection.execute(
            "INSERT INTO device_token (app_id, installation_id, token, registered_at) "
            "SELECT app_id, installation_id, uuid_send(gen_random_uuid()), now() FROM installation i "
            "WHERE NOT EXISTS (SELECT FROM device_token t WHERE t.installation_id = i.installation_id)"
        )
        await connection.execute("UPDATE device_token SET retired_at = now() WHERE installation_id % 7 = 0")
        await connection.execute("UPDATE installation SET retired_at = now() WHERE installation_id % 13 = 0")
    leased = await batches.lease_batches(uuid4(), NOW, NOW + timedelta(minutes=1), 100, 0)
    assert {batch.push_id for batch in leased} == {push}
    assert all(batch.dense for batch in leased)
    async with database.connection() as connection:
        groups_by_batch = await batches.resolve_targets(connection, leased)
        stored_tokens = dict(await connection.fetch("SELECT installation_id, token FROM device_token"))
    pairs = [
        pair
        for groups in groups_by_batch
        for group in groups
        for pair in zip(group.installations, group.tokens, strict=True)
    ]
    tokens = dict(pairs)
    assert len(pairs) == len(tokens)
    assert set(tokens) == targets & await audience.reachable("app") - {n for n in targets if n % 7 == 0}
    assert tokens.items() <= stored_tokens.items()
    for batch, groups in zip(leased, groups_by_batch, strict=True):
        assert {number for group in groups for number in group.installations} <= set(batch.installations)


async def test_a_batch_of_few_targets_among_many_installations_is_not_dense(
    database: Database, audience: Audience
) -> None:
    await audience.app("app", 300)
    async with database.connection() as connection:
        await connection.execute("DELETE FROM device_token WHERE installation_id % 50 <> 1")
    await audience.send("app")
    await audience.cut_all()
    leased = await BatchRepository(database).lease_batches(uuid4(), NOW, NOW + timedelta(minutes=1), 100, 0)
    assert leased
    assert not any(batch.dense for batch in leased)
