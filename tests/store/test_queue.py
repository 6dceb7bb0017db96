"""The queue: claimed in turn, settled once, taken over when a node is gone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.core.delivery.routing import Route, Target
from relay.core.delivery.sending import PushHeaders
from relay.core.ids import push_id
from relay.core.push.request import PushRequest
from relay.store.database import Database
from relay.store.push import pushes, queue
from relay.store.push.pushes import Lease
from relay.store.push.queue import DeliveryOutcome, Retry, Settlement

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
HERE, THERE = uuid4(), uuid4()


@pytest.fixture
def ids() -> Iterator[int]:
    return count(1)


class Queue:
    """A queue filled without the rest of the relay: installations are just numbers here."""

    def __init__(self, database: Database, ids: Iterator[int]) -> None:
        self.database = database
        self._ids = ids

    async def put(
        self, installations: int, app_id: str = "app", lease: Lease | None = None, batch_size: int = 2000
    ) -> UUID:
        made = push_id(int(NOW.timestamp() * 1000), next(self._ids))
        headers = PushHeaders("alert", 10)
        request = PushRequest(
            app_id, made, uuid4(), NOW, NOW + timedelta(days=1), headers, "apns", b"{}", False, [], []
        )
        copies = {n: Target(n, "b", "t", None, b"") for n in range(installations)}
        async with self.database.connection() as connection:
            await pushes.insert(
                connection, [request], [Route(copies, 0, [])], [lease], batch_size, lambda: next(self._ids)
            )
        return made

    async def claim(
        self, owner: UUID = HERE, now: datetime = NOW, small: int = 500, bulk: int = 10
    ) -> list[ClaimedBatch]:
        async with self.database.connection() as connection:
            return await queue.claim(connection, owner, now, now + timedelta(seconds=30), small, bulk)

    async def settle(self, settlement: Settlement, owner: UUID = HERE, now: datetime = NOW) -> set[int]:
        async with self.database.connection() as connection:
            lease_end = now + timedelta(seconds=30)
            return await queue.settle(connection, owner, settlement, now, lease_end, lambda: next(self._ids))

    async def outcomes(self, made: UUID) -> list[tuple[str, str, int]]:
        async with self.database.connection() as connection:
            return await pushes.counts(connection, "app", made)


@pytest.fixture
def line(database: Database, ids: Iterator[int]) -> Queue:
    return Queue(database, ids)


def delivered(batch: ClaimedBatch) -> DeliveryOutcome:
    return DeliveryOutcome(batch, "delivered", 200, "", batch.installations)


async def test_a_batch_is_claimed_by_one_node_only(line: Queue) -> None:
    await line.put(3)
    [batch] = await line.claim(HERE)
    assert list(batch.installations) == [0, 1, 2]
    assert await line.claim(THERE) == []


async def test_a_batch_whose_node_is_gone_is_taken_over(line: Queue) -> None:
    made = await line.put(3)
    [lost] = await line.claim(HERE)
    [taken] = await line.claim(THERE, LATER)
    assert taken.batch_id == lost.batch_id
    assert await line.settle(Settlement(ended=[lost], outcomes=[delivered(lost)])) == set()
    assert await line.outcomes(made) == [], "its new holder writes it"
    await line.settle(Settlement(ended=[taken], outcomes=[delivered(taken)]), THERE, LATER)
    assert await line.outcomes(made) == [("delivered", "", 3)]
    assert await line.claim(now=LATER + timedelta(days=1)) == []


async def test_what_was_settled_of_a_batch_is_not_taken_over(line: Queue) -> None:
    made = await line.put(3)
    [batch] = await line.claim(HERE)
    part = DeliveryOutcome(batch, "delivered", 200, "", [0])
    again = Retry(batch, 1, NOW + timedelta(hours=1), None, "ServiceUnavailable", [1])
    await line.settle(Settlement(remaining=[(batch, [2])], outcomes=[part], again=[again]))
    [taken] = await line.claim(THERE, NOW + timedelta(minutes=1))
    assert list(taken.installations) == [2]
    later = await line.claim(THERE, NOW + timedelta(hours=1))
    [retried] = [one for one in later if one.batch_id != taken.batch_id]
    assert (list(retried.installations), retried.attempt) == ([1], 1)
    assert retried.last_reason == "ServiceUnavailable"
    assert await line.outcomes(made) == [("delivered", "", 1)]


async def test_a_lease_is_extended_only_by_its_owner(line: Queue) -> None:
    await line.put(1)
    [batch] = await line.claim(HERE)
    async with line.database.connection() as connection:
        await queue.extend(connection, THERE, [batch], LATER + timedelta(hours=2))
        await queue.extend(connection, HERE, [batch], LATER + timedelta(hours=1))
    assert await line.claim(THERE, LATER) == []
    assert len(await line.claim(THERE, LATER + timedelta(hours=1))) == 1


async def test_extending_leases_does_not_wait_for_a_settlement(line: Queue) -> None:
    """Both take many of the same rows: if they waited for each other, one would be thrown away."""
    await line.put(1)
    await line.put(1)
    first, second = await line.claim(HERE)
    async with line.database.transaction() as settling, line.database.connection() as connection:
        await settling.execute("SELECT FROM batch WHERE batch_id = $1 FOR UPDATE", first.batch_id)
        async with asyncio.timeout(30):
            await queue.extend(connection, HERE, [first, second], LATER + timedelta(hours=1))
    assert [batch.batch_id for batch in await line.claim(THERE, LATER)] == [first.batch_id]


async def test_a_settlement_whose_answer_was_lost_can_be_repeated(line: Queue) -> None:
    made = await line.put(3)
    [batch] = await line.claim(HERE)
    part = DeliveryOutcome(batch, "delivered", 200, "", [0])
    again = Retry(batch, 1, LATER, None, "ServiceUnavailable", [1])
    settlement = Settlement(remaining=[(batch, [2])], outcomes=[part], again=[again])
    await line.settle(settlement)
    await line.settle(settlement)
    assert await line.outcomes(made) == [("delivered", "", 1)]
    assert sorted(one for batch in await line.claim(THERE, LATER) for one in batch.installations) == [1, 2]


async def test_a_clean_end_hands_everything_back(line: Queue) -> None:
    await line.put(1)
    await line.claim(HERE)
    async with line.database.connection() as connection:
        await queue.release(connection, HERE, NOW)
    assert len(await line.claim(THERE)) == 1


async def test_a_batch_stored_under_a_lease_is_not_claimed_but_taken_over(line: Queue) -> None:
    await line.put(1, lease=Lease(HERE, LATER))
    assert await line.claim(THERE) == []
    assert len(await line.claim(THERE, LATER)) == 1


async def test_apps_take_turns(line: Queue) -> None:
    for _ in range(20):
        await line.put(1, "loud")
    await line.put(1, "quiet")
    claimed = Counter(batch.app_id for batch in await line.claim(small=4))
    assert claimed["quiet"] == 1
    assert claimed["loud"] >= 1


async def test_a_broadcast_does_not_stand_before_a_single_send(line: Queue) -> None:
    await line.put(1000, batch_size=200)
    single = await line.put(1)
    claimed = await line.claim(bulk=1)
    assert single in {batch.push_id for batch in claimed}
    assert len(claimed) == 2


async def test_apps_whose_pushes_are_held_take_nobodys_turn(line: Queue) -> None:
    async with line.database.connection() as connection:
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, held_by, installations) "
            "SELECT 'held' || n, gen_random_uuid(), n, n % 2 = 0, 0, $1, 7, '{1}' FROM generate_series(1, 2000) n",
            NOW + timedelta(days=1),
        )
    single = await line.put(1, "quiet")
    large = await line.put(200, "quiet")
    assert {batch.push_id for batch in await line.claim(small=4, bulk=2)} == {single, large}


async def test_apps_with_large_pushes_only_leave_the_places_of_small_ones(line: Queue) -> None:
    for number in range(20):
        await line.put(200, f"large{number}")
    singles = {await line.put(1, f"quiet{number}") for number in range(4)}
    assert {batch.push_id for batch in await line.claim(small=4, bulk=0)} == singles
    assert len(await line.claim(small=4, bulk=3)) == 3


async def test_held_batches_carry_what_they_wait_for(line: Queue) -> None:
    await line.put(2)
    [batch] = await line.claim()
    held = Retry(batch, 0, LATER, 7, "CredentialSuspended", [0, 1])
    await line.settle(Settlement(ended=[batch], again=[held]))
    async with line.database.connection() as connection:
        assert await connection.fetchval("SELECT array_agg(held_by) FROM batch") == [7]
