"""What publishers are to be told: with the settlement and only with it, and that a push is completed once."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID, uuid4

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.core.delivery.routing import Route, Target
from relay.core.delivery.sending import PushHeaders
from relay.core.ids import push_id
from relay.core.push.request import PushRequest
from relay.core.webhooks.messages import EventType
from relay.store.database import Connection, Database
from relay.store.push import broadcasts, pushes, queue
from relay.store.push.queue import DeliveryOutcome, Retry, Settlement
from relay.store.webhooks import outbox

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
        made = uuid4()
        async with self.database.connection() as connection:
            await connection.execute(
                "INSERT INTO webhook (app_id, webhook_id, url, events, secret, created_at, disabled_at) "
                "VALUES ('app', $1, 'https://a.example', $2, '', $3, $4)",
                made,
                list(events),
                NOW,
                NOW if disabled else None,
            )
        return made

    async def push(self, installations: int, size: int = 1, *, everyone: bool = False) -> UUID:
        made = push_id(int(NOW.timestamp() * 1000), next(self._ids))
        request = PushRequest(
            "app",
            made,
            uuid4(),
            NOW,
            NOW + timedelta(days=1),
            PushHeaders("alert", 10),
            "apns",
            b"{}",
            False,
            [],
            [],
            everyone=everyone,
        )
        copies = {n: Target(n, "b", "t", None, b"") for n in range(installations)}
        async with self.database.connection() as connection:
            await pushes.insert(
                connection, [request], [Route(copies, 0, [])], [None], size, lambda: next(self._ids)
            )
        return made

    async def claim(self, owner: UUID = HERE, now: datetime = NOW) -> list[ClaimedBatch]:
        """All batches, resolved."""
        async with self.database.connection() as connection:
            claimed = await queue.claim(connection, owner, now, now + timedelta(seconds=30), 500, 500)
            about = await queue.about_apps(connection, ["app", "other"])
        for batch in claimed:
            batch.has_webhook = batch.app_id in about.with_webhook
        return claimed

    async def settle(
        self, settlement: Settlement, connection: Connection | None = None, owner: UUID = HERE
    ) -> None:
        if connection is None:
            async with self.database.connection() as own:
                return await self.settle(settlement, own, owner)
        await queue.settle(connection, owner, settlement, NOW, LATER, lambda: next(self._ids))
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
    made = App(database)
    await made.make()
    return made


def ended(*batches: ClaimedBatch, outcome: str = "delivered", reason: str = "") -> Settlement:
    return Settlement(
        ended=list(batches),
        outcomes=[DeliveryOutcome(b, outcome, 200, reason, b.installations) for b in batches],
    )


async def test_each_webhook_is_told_what_it_wants_to_know(app: App) -> None:
    everything = await app.webhook()
    failures = await app.webhook((EventType.DELIVERY_FAILED,))
    await app.webhook(disabled=True)
    push = await app.push(4)
    one, two, three, four = await app.claim()
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


async def test_without_a_webhook_nothing_is_written(app: App) -> None:
    await app.push(2)
    settlement = ended(*await app.claim(), outcome="failed")
    assert not settlement.concerns_webhooks
    await app.settle(settlement)
    assert await app.events() == []


async def test_many_failures_are_told_in_parts(app: App) -> None:
    await app.webhook()
    await app.push(2500, 2000)
    await app.settle(ended(*await app.claim(), outcome="failed"))
    assert sorted(len(ids) for *_, ids in await app.events()) == [0, 500, 1000, 1000]


async def test_a_push_is_completed_when_the_last_of_it_is_settled(app: App) -> None:
    await app.webhook()
    push = await app.push(6, 2)
    one, two, three = await app.claim()
    await app.settle(ended(one))
    part = Settlement(
        remaining=[(two, [two.installations[1]])],
        outcomes=[DeliveryOutcome(two, "delivered", 200, "", [two.installations[0]])],
    )
    await app.settle(part)
    again = Settlement(
        ended=[three], outcomes=[DeliveryOutcome(three, "failed", 400, "x", [three.installations[0]])]
    )
    again.again = [Retry(three, 1, NOW, None, "y", [three.installations[1]])]
    await app.settle(again)
    rest = Settlement(
        ended=[two], outcomes=[DeliveryOutcome(two, "delivered", 200, "", [two.installations[1]])]
    )
    await app.settle(rest)
    assert await app.completed() == []
    [last] = await app.claim()
    await app.settle(ended(last))
    assert await app.completed() == [push]


async def test_a_repeated_settlement_tells_nothing_again(app: App) -> None:
    await app.webhook()
    push = await app.push(2)
    settlement = ended(*await app.claim(), outcome="failed")
    for _ in range(3):
        await app.settle(settlement)
    assert await app.completed() == [push]
    assert len(await app.events()) == 2


async def test_a_lease_that_was_lost_tells_nothing(app: App) -> None:
    await app.webhook()
    push = await app.push(1)
    [mine] = await app.claim()
    [theirs] = await app.claim(THERE, LATER)
    await app.settle(ended(mine, outcome="failed"))
    assert await app.events() == []
    await app.settle(ended(theirs), owner=THERE)
    assert await app.completed() == [push]


async def test_what_is_rolled_back_is_told_by_nobody(app: App) -> None:
    await app.webhook()
    await app.push(1)
    claimed = await app.claim()
    async with app.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await app.settle(ended(*claimed, outcome="failed"), connection)
        await transaction.rollback()
    assert await app.events() == []


@pytest.mark.parametrize("seed", range(5))
async def test_batches_that_end_at_the_same_time_complete_their_push_once(app: App, seed: int) -> None:
    """Each in a transaction that stays open for a while, so that none sees what the others do."""
    await app.webhook()
    made = [await app.push(4) for _ in range(3)]
    claimed = await app.claim()
    spread = random.Random(seed)
    spread.shuffle(claimed)

    async def settle(batches: list[ClaimedBatch], pause: float) -> None:
        async with app.database.transaction() as connection:
            await app.settle(ended(*batches), connection)
            await asyncio.sleep(pause)  # plays a slow transaction: they end in any order

    parts = [claimed[n::4] for n in range(4)]
    await asyncio.gather(*(settle(part, spread.random() / 20) for part in parts))
    assert sorted(await app.completed()) == sorted(made)


async def test_a_broadcast_is_completed_after_it_was_cut(app: App) -> None:
    """Whether its last batch ends before the cutting or after it."""
    await app.webhook()
    await _installations(app.database, 6)
    early, late = await app.push(0, everyone=True), await app.push(0, everyone=True)

    async def cut(push: UUID, *, last: bool) -> None:
        async with app.database.transaction() as connection:
            piece = await broadcasts.cut(connection, 6, 3, NOW)
            assert piece is not None
            assert (piece.push_id, piece.last) == (push, last)
            if last:
                await outbox.tell_completed(connection, [(piece.app_id, piece.push_id)], NOW)

    await cut(early, last=False)
    await app.settle(ended(*await app.claim()))
    assert await app.completed() == []
    await cut(early, last=True)
    assert await app.completed() == [early]
    await cut(late, last=False)
    await cut(late, last=True)
    assert await app.completed() == [early]
    await app.settle(ended(*await app.claim()))
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
