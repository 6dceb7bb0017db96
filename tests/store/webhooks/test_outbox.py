"""The outbox: messages are written with the settlement and only with it, and a push is completed once."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.core.webhooks.messages import EventType
from relay.store.database import Connection, Database
from relay.store.push.batches import BatchRepository
from relay.store.push.broadcasts import BroadcastRepository
from relay.store.push.records import DeliveryOutcome, Retry, Settlement
from relay.store.push.settlement import SettlementRepository
from relay.store.webhooks.outbox import OutboxRepository
from tests.factories import make_push_request
from tests.store.push.batch_queue import store_push

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
HERE, THERE = uuid4(), uuid4()
ALL = tuple(EventType)


class App:
    """An app with webhooks, pushes of it, and the outbox."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._ids = count(1)

    async def make(self) -> None:
        async with self.database.connection() as connection:
            await connection.execute("INSERT INTO publisher VALUES ($1, 'P', $2)", HERE, NOW)
            await connection.execute("INSERT INTO app VALUES ('app', $1, 'A', $2)", HERE, NOW)

    async def webhook(self, events: tuple[str, ...] = ALL, *, disabled: bool = False) -> UUID:
        webhook_id = uuid4()
        async with self.database.connection() as connection:
            await connection.execute(
                "INSERT INTO webhook (app_id, webhook_id, url, events, secret, created_at, disabled_at) "
                "VALUES ('app', $1, 'https://a.example', $2, '', $3, $4)",
                webhook_id,
                list(events),
                NOW,
                NOW if disabled else None,
            )
        return webhook_id

    async def push(self, installations: int, size: int = 1, *, everyone: bool = False) -> UUID:
        request = make_push_request(number=next(self._ids), everyone=everyone)
        await store_push(self.database, request, installations, size, lambda: next(self._ids))
        return request.push_id

    async def lease(self, owner: UUID = HERE, now: datetime = NOW) -> list[ClaimedBatch]:
        """Lease all batches, and mark those of apps with a webhook."""
        batches = BatchRepository(self.database)
        leased = await batches.lease_batches(owner, now, now + timedelta(seconds=30), 500, 500)
        async with self.database.connection() as connection:
            context = await batches.read_dispatch_context(connection, ["app", "other"])
        for batch in leased:
            batch.has_webhook = batch.app_id in context.with_webhook
        return leased

    async def settle(
        self, settlement: Settlement, connection: Connection | None = None, owner: UUID = HERE
    ) -> None:
        if connection is None:
            async with self.database.connection() as new_connection:
                return await self.settle(settlement, new_connection, owner)
        await SettlementRepository().settle_batches(
            connection, owner, settlement, NOW, LATER, lambda: next(self._ids)
        )
        return None

    async def events(self) -> list[tuple[UUID, str, UUID, str, list[int]]]:
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT webhook_id, type, push_id, reason, installations FROM webhook_event ORDER BY event_id"
            )
        return [tuple(row) for row in rows]

    async def completed(self) -> list[UUID]:
        return [push for _, event, push, _, _ in await self.events() if event == EventType.PUSH_COMPLETED]


@pytest.fixture
async def app(database: Database) -> App:
    app = App(database)
    await app.make()
    return app


def ended(*batches: ClaimedBatch, outcome: str = "delivered", reason: str = "") -> Settlement:
    return Settlement(
        ended=list(batches),
        outcomes=[DeliveryOutcome(b, outcome, 200, reason, b.installations) for b in batches],
    )


async def test_each_webhook_gets_the_events_it_takes(app: App) -> None:
    everything = await app.webhook()
    failures = await app.webhook((EventType.DELIVERY_FAILED,))
    await app.webhook(disabled=True)
    push = await app.push(4)
    one, two, three, four = await app.lease()
    settlement = ended(one, outcome="failed", reason="TopicDisallowed")
    for part in (
        ended(two, outcome="failed", reason="TopicDisallowed"),
        ended(three, outcome="unregistered", reason="Unregistered"),
        ended(four),
    ):
        settlement.ended += part.ended
        settlement.outcomes += part.outcomes
    await app.settle(settlement)
    alike = [*one.installations, *two.installations]
    assert sorted(await app.events(), key=repr) == sorted(
        [
            (everything, "delivery.failed", push, "TopicDisallowed", alike),
            (failures, "delivery.failed", push, "TopicDisallowed", alike),
            (everything, "device.unregistered", push, "Unregistered", list(three.installations)),
            (everything, "push.completed", push, "", []),
        ],
        key=repr,
    )


async def test_an_app_without_a_webhook_has_no_messages(app: App) -> None:
    await app.push(2)
    settlement = ended(*await app.lease(), outcome="failed")
    assert not settlement.concerns_webhooks
    await app.settle(settlement)
    assert await app.events() == []


async def test_many_failures_become_several_messages(app: App) -> None:
    await app.webhook()
    await app.push(2500, 2000)
    await app.settle(ended(*await app.lease(), outcome="failed"))
    assert sorted(len(ids) for *_, ids in await app.events()) == [0, 500, 1000, 1000]


async def test_a_push_is_completed_when_its_last_delivery_is_settled(app: App) -> None:
    await app.webhook()
    push = await app.push(6, 2)
    one, two, three = await app.lease()
    await app.settle(ended(one))
    part = Settlement(
        remaining=[(two, [two.installations[1]])],
        outcomes=[DeliveryOutcome(two, "delivered", 200, "", [two.installations[0]])],
    )
    await app.settle(part)
    partly_retried = Settlement(
        ended=[three], outcomes=[DeliveryOutcome(three, "failed", 400, "x", [three.installations[0]])]
    )
    partly_retried.retries = [Retry(three, 1, NOW, None, "y", [three.installations[1]])]
    await app.settle(partly_retried)
    rest = Settlement(
        ended=[two], outcomes=[DeliveryOutcome(two, "delivered", 200, "", [two.installations[1]])]
    )
    await app.settle(rest)
    assert await app.completed() == []
    [last] = await app.lease()
    await app.settle(ended(last))
    assert await app.completed() == [push]


async def test_a_repeated_settlement_writes_no_second_message(app: App) -> None:
    await app.webhook()
    push = await app.push(2)
    settlement = ended(*await app.lease(), outcome="failed")
    for _ in range(3):
        await app.settle(settlement)
    assert await app.completed() == [push]
    assert len(await app.events()) == 2


async def test_a_settlement_without_the_lease_writes_no_message(app: App) -> None:
    await app.webhook()
    push = await app.push(1)
    [mine] = await app.lease()
    [theirs] = await app.lease(THERE, LATER)
    await app.settle(ended(mine, outcome="failed"))
    assert await app.events() == []
    await app.settle(ended(theirs), owner=THERE)
    assert await app.completed() == [push]


async def test_a_settlement_that_is_rolled_back_leaves_no_message(app: App) -> None:
    await app.webhook()
    await app.push(1)
    leased = await app.lease()
    async with app.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await app.settle(ended(*leased, outcome="failed"), connection)
        await transaction.rollback()
    assert await app.events() == []


@pytest.mark.parametrize("seed", range(5))
async def test_batches_that_end_at_the_same_time_complete_their_push_once(app: App, seed: int) -> None:
    """Each transaction stays open for a while, so none sees what the others have written."""
    await app.webhook()
    pushes = [await app.push(4) for _ in range(3)]
    leased = await app.lease()
    spread = random.Random(seed)
    spread.shuffle(leased)

    async def settle(batches: list[ClaimedBatch], pause: float) -> None:
        async with app.database.transaction() as connection:
            await app.settle(ended(*batches), connection)
            await asyncio.sleep(pause)  # plays a slow transaction: they end in any order

    parts = [leased[n::4] for n in range(4)]
    await asyncio.gather(*(settle(part, spread.random() / 20) for part in parts))
    assert sorted(await app.completed()) == sorted(pushes)


async def test_a_broadcast_is_completed_only_after_it_was_cut(app: App) -> None:
    """Its last batch may end before the cutting does, or after it."""
    await app.webhook()
    await _installations(app.database, 6)
    early, late = await app.push(0, everyone=True), await app.push(0, everyone=True)

    async def cut(push: UUID, *, last: bool) -> None:
        async with app.database.transaction() as connection:
            piece = await BroadcastRepository(app.database).cut_broadcast(connection, 6, 3, NOW)
            assert piece is not None
            assert (piece.push_id, piece.is_last) == (push, last)
            if last:
                await OutboxRepository().store_completed_messages(
                    connection, [(piece.app_id, piece.push_id)], NOW
                )

    await cut(early, last=False)
    await app.settle(ended(*await app.lease()))
    assert await app.completed() == []
    await cut(early, last=True)
    assert await app.completed() == [early]
    await cut(late, last=False)
    await cut(late, last=True)
    assert await app.completed() == [early]
    await app.settle(ended(*await app.lease()))
    assert await app.completed() == [early, late]


async def _installations(database: Database, number: int) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH made AS (
                INSERT INTO installation (app_id, installation_uuid, customer_id, device_id, alongside, bundle_id,
                                          team_id, enrolled_at)
                SELECT 'app', gen_random_uuid(), n, n, '', 'b', 't', $2::timestamptz
                FROM generate_series(1, $1::int) AS n RETURNING app_id, installation_id
            )
            INSERT INTO device_token (app_id, installation_id, token, registered_at)
            SELECT app_id, installation_id, uuid_send(gen_random_uuid()), $2::timestamptz FROM made
            """,
            number,
            NOW,
        )
