"""Settlement: only under the lease, nothing twice, and retries with what they wait for."""

from __future__ import annotations

from datetime import timedelta

from relay.store.push.records import DeliveryOutcome, Retry, Settlement
from tests.store.push.batch_queue import HERE, LATER, NOW, THERE, BatchQueue, delivered

AN_HOUR = timedelta(hours=1)


async def test_only_the_owner_of_the_lease_settles_a_batch(queue: BatchQueue) -> None:
    push = await queue.put(3)
    [lost] = await queue.lease(HERE)
    [taken_over] = await queue.lease(THERE, LATER)
    assert taken_over.batch_id == lost.batch_id
    assert await queue.settle(Settlement(ended=[lost], outcomes=[delivered(lost)])) == set()
    assert await queue.outcomes(push) == []
    await queue.settle(Settlement(ended=[taken_over], outcomes=[delivered(taken_over)]), THERE, LATER)
    assert await queue.outcomes(push) == [("delivered", "", 3)]
    assert await queue.lease(now=LATER + timedelta(days=1)) == []


async def test_a_batch_that_is_taken_over_holds_only_what_is_not_settled(queue: BatchQueue) -> None:
    push = await queue.put(3)
    [batch] = await queue.lease(HERE)
    part = DeliveryOutcome(batch, "delivered", 200, "", [0])
    retry = Retry(batch, 1, NOW + AN_HOUR, None, "ServiceUnavailable", [1])
    await queue.settle(Settlement(remaining=[(batch, [2])], outcomes=[part], retries=[retry]))
    [taken_over] = await queue.lease(THERE, NOW + timedelta(minutes=1))
    assert list(taken_over.installations) == [2]
    due_later = await queue.lease(THERE, NOW + AN_HOUR)
    [retried] = [batch for batch in due_later if batch.batch_id != taken_over.batch_id]
    assert (list(retried.installations), retried.attempt) == ([1], 1)
    assert retried.last_reason == "ServiceUnavailable"
    assert await queue.outcomes(push) == [("delivered", "", 1)]


async def test_a_repeated_settlement_changes_nothing(queue: BatchQueue) -> None:
    """A node repeats a settlement when the connection was lost before the answer came."""
    push = await queue.put(3)
    [batch] = await queue.lease(HERE)
    part = DeliveryOutcome(batch, "delivered", 200, "", [0])
    retry = Retry(batch, 1, LATER, None, "ServiceUnavailable", [1])
    settlement = Settlement(remaining=[(batch, [2])], outcomes=[part], retries=[retry])
    await queue.settle(settlement)
    await queue.settle(settlement)
    assert await queue.outcomes(push) == [("delivered", "", 1)]
    leased = await queue.lease(THERE, LATER)
    assert sorted(number for batch in leased for number in batch.installations) == [1, 2]


async def test_held_batches_store_the_credential_they_wait_for(queue: BatchQueue) -> None:
    await queue.put(2)
    [batch] = await queue.lease()
    held = Retry(batch, 0, LATER, 7, "CredentialSuspended", [0, 1])
    await queue.settle(Settlement(ended=[batch], retries=[held]))
    async with queue.database.connection() as connection:
        assert await connection.fetchval("SELECT array_agg(held_by) FROM batch") == [7]
