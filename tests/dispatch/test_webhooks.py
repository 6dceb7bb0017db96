"""Delivery of messages from a real outbox to real receivers: tried again, given up, nobody harmed by the bad."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from relay.core.webhooks.health import Health
from relay.core.webhooks.messages import Attempt, EventType
from relay.core.webhooks.signatures import new_webhook_secret
from relay.dispatch.webhook_receivers import HttpReceivers
from relay.dispatch.webhooks import WebhookDispatcher
from relay.settings import WebhooksSettings
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE, AuditRepository
from relay.store.webhooks.records import NewWebhook, RoundResult, WebhookDescription
from relay.store.webhooks.webhook_queue import WebhookQueueRepository
from relay.store.webhooks.webhooks import WebhookRepository
from tests.eventually import eventually, nothing_happens_for
from tests.receiver import PATIENCE, Receiver

KEYS = ("a key of more than thirty-two characters",)
SETTINGS = WebhooksSettings(
    allow_private=True, timeout=2.0, retry_first=0.1, retry_longest=0.4, keep=3600, disable_after=3600
)


@dataclass
class Clock:
    """The machine's, and what was added."""

    ahead: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Outbox:
    """Webhooks of an app, and messages for them, written directly."""

    def __init__(self, database: Database, receiver: Receiver) -> None:
        self.database = database
        self.receiver = receiver
        self.clock = Clock()
        self.webhooks = WebhookRepository(database, KEYS)
        self.publisher_id = uuid4()

    async def make(self) -> None:
        async with self.database.connection() as connection:
            await connection.execute("INSERT INTO publisher VALUES ($1, 'P', now())", self.publisher_id)
            await connection.execute("INSERT INTO app VALUES ('chess', $1, 'A', now())", self.publisher_id)

    async def webhook(self, path: str, url: str | None = None, keys: tuple[str, ...] = KEYS) -> UUID:
        made, secret = uuid4(), new_webhook_secret(lambda size: bytes(size))
        self.receiver.secrets[path] = secret
        new = NewWebhook("chess", made, url or self.receiver.url(path), [EventType.DELIVERY_FAILED], secret)
        assert await WebhookRepository(self.database, keys).create_webhook(
            new, self.publisher_id, self.clock.now(), COMMAND_LINE
        )
        return made

    async def tell(self, webhook: UUID, messages: int, ago: float = 0, push: UUID | None = None) -> None:
        event = EventType.PUSH_COMPLETED if push else EventType.DELIVERY_FAILED
        async with self.database.connection() as connection:
            await connection.execute(
                "INSERT INTO webhook_event (app_id, webhook_id, type, created_at, due_at, push_id, outcome, status, "
                "reason, installations) SELECT 'chess', $1, $5, $3, $3, $4, 'failed', 400, n::text, '{}' "
                "FROM generate_series(1, $2::int) AS n",
                webhook,
                messages,
                self.clock.now() - timedelta(seconds=ago),
                push or uuid4(),
                event,
            )

    @asynccontextmanager
    async def node(self, **changes: Any) -> AsyncIterator[WebhookDispatcher]:
        """A node that works, and ends in order."""
        settings = WebhooksSettings(**{**_asdict(SETTINGS), **changes})
        receivers = HttpReceivers(allow_private=True, timeout=settings.timeout)
        queue = WebhookQueueRepository(self.database, KEYS, uuid4())
        dispatcher = WebhookDispatcher(queue, receivers, self.clock, settings, lambda: 1.0)
        running = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            await dispatcher.aclose(5)
            await running
            await receivers.aclose()

    async def shown(self, webhook: UUID) -> WebhookDescription:
        page = await self.webhooks.list_webhooks("chess", None, 100)
        return next(one for one in page if one.webhook_id == webhook)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        await eventually(holds)

    async def until_shown(self, webhook: UUID, **values: Any) -> WebhookDescription:
        async def holds() -> bool:
            shown = await self.shown(webhook)
            return all(getattr(shown, name) == value for name, value in values.items())

        await self.until(holds)
        return await self.shown(webhook)


def _asdict(settings: WebhooksSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


@pytest.fixture
async def outbox(database: Database) -> AsyncIterator[Outbox]:
    async with Receiver() as receiver:
        made = Outbox(database, receiver)
        await made.make()
        yield made


async def test_everything_arrives_once_signed_and_never_too_much_at_once(outbox: Outbox) -> None:
    one, two = await outbox.webhook("one"), await outbox.webhook("two")
    await outbox.tell(one, 30)
    await outbox.tell(two, 3)
    async with outbox.node():
        await outbox.receiver.got(33)
        shown = await outbox.until_shown(one, waiting=0)
    assert (shown.state, shown.last_status, shown.failures, shown.given_up) == ("active", 204, 0, 0)
    ids = [message.id for message in outbox.receiver.messages]
    assert len(set(ids)) == len(ids) == 33
    assert outbox.receiver.most_at_once["one"] <= 8
    assert {data["reason"] for data in outbox.receiver.of("delivery.failed", "one")} == {
        str(number) for number in range(1, 31)
    }


async def test_what_is_not_taken_is_tried_again_under_the_same_id(outbox: Outbox) -> None:
    webhook = await outbox.webhook("shaky")
    outbox.receiver.answers["shaky"] = [500, 429, 302]
    await outbox.tell(webhook, 1)
    async with outbox.node():
        await outbox.receiver.got(1)
        shown = await outbox.until_shown(webhook, waiting=0)
    assert outbox.receiver.requests["shaky"] == 4
    assert (shown.state, shown.failures, shown.failing_since) == ("active", 0, None)


async def test_a_receiver_that_fails_is_asked_with_one_message_and_then_gets_all(outbox: Outbox) -> None:
    webhook = await outbox.webhook("away")
    outbox.receiver.always["away"] = 503
    await outbox.tell(webhook, 20)
    async with outbox.node():

        async def failed() -> bool:
            return (await outbox.shown(webhook)).failures >= 3

        await outbox.until(failed)
        shown = await outbox.shown(webhook)
        assert (shown.state, shown.last_status, shown.last_error) == ("failing", 503, "The answer was 503.")
        assert shown.waiting == 20
        assert outbox.receiver.requests["away"] <= 8 + shown.failures, (
            "eight at first, and then one at a time"
        )
        del outbox.receiver.always["away"]
        await outbox.receiver.got(20)
        await outbox.until_shown(webhook, waiting=0, state="active")


async def test_a_message_that_is_never_taken_is_not_in_the_way_of_the_others(outbox: Outbox) -> None:
    """As one that a receiver can't digest."""
    webhook = await outbox.webhook("picky")
    await outbox.tell(webhook, 1, ago=10)
    outbox.receiver.answers["picky"] = [500]
    async with outbox.node(retry_first=0.5, retry_longest=1.0):
        await eventually(lambda: outbox.receiver.requests["picky"])
        await outbox.tell(webhook, 3)
        await outbox.receiver.got(4)
    assert len({message.id for message in outbox.receiver.messages}) == 4


async def test_bad_receivers_harm_nobody(outbox: Outbox) -> None:
    """Each with much to be told, and none answers."""
    outbox.receiver.hangs.update(f"hang{n}" for n in range(4))
    for n in range(4):
        await outbox.tell(await outbox.webhook(f"hang{n}"), 50)
    await outbox.tell(await outbox.webhook("", "http://127.0.0.1:1/"), 50)
    good = await outbox.webhook("good")
    await outbox.tell(good, 10)
    async with outbox.node():
        began = time.monotonic()
        await outbox.receiver.got(10)
        assert len({message.id for message in outbox.receiver.messages}) == 10
        first = time.monotonic() - began
        await outbox.tell(good, 10)
        await outbox.receiver.got(20)
    assert first < PATIENCE / 2
    assert all(outbox.receiver.most_at_once[f"hang{n}"] <= 8 for n in range(4))


async def test_several_nodes_send_each_message_once(outbox: Outbox) -> None:
    webhooks = [await outbox.webhook(f"w{n}") for n in range(4)]
    for webhook in webhooks:
        await outbox.tell(webhook, 25)
    patient = {"timeout": 60.0}  # and so are the leases: what takes longer would be sent again
    async with outbox.node(**patient), outbox.node(**patient), outbox.node(**patient):
        await outbox.receiver.got(100)
        for webhook in webhooks:
            await outbox.until_shown(webhook, waiting=0)
    ids = [message.id for message in outbox.receiver.messages]
    assert len(set(ids)) == len(ids) == 100
    assert max(outbox.receiver.most_at_once.values()) <= 8, "over all nodes"


async def test_what_a_dead_node_had_leased_is_sent_by_another(outbox: Outbox) -> None:
    webhook = await outbox.webhook("w")
    await outbox.tell(webhook, 3)
    now = outbox.clock.now()
    [leased] = await WebhookQueueRepository(outbox.database, KEYS, uuid4()).lease_webhooks(
        now, now + timedelta(hours=1), 9, 9
    )
    assert leased.webhook_id == webhook
    async with outbox.node():
        await nothing_happens_for(0.3)
        assert not outbox.receiver.requests
        outbox.clock.ahead += timedelta(hours=1, seconds=1)
        await outbox.receiver.got(3)


async def test_who_lost_the_lease_writes_nothing_of_its_health(outbox: Outbox) -> None:
    webhook = await outbox.webhook("w")
    await outbox.tell(webhook, 1)
    one, two = (WebhookQueueRepository(outbox.database, KEYS, uuid4()) for _ in range(2))
    now = outbox.clock.now()
    [mine] = await one.lease_webhooks(now, now, 9, 9)
    [theirs] = await two.lease_webhooks(now, now + timedelta(hours=1), 9, 9)
    assert not await one.record_results(mine, RoundResult(Attempt(204)), Health(5, now, now), now, None)
    assert (await outbox.shown(webhook)).failures == 0
    assert not await one.record_results(
        mine, RoundResult(Attempt(410)), Health(5, now, now, disabled=True), now, None
    )
    shown = await outbox.shown(webhook)
    assert (shown.state, shown.waiting) == ("active", 1), "whoever has the lease sends it"
    assert await two.record_results(theirs, RoundResult(Attempt(204)), Health(1, now, now), now, None)
    assert (await outbox.shown(webhook)).failures == 1


async def test_after_days_a_webhook_is_disabled_and_shown(outbox: Outbox) -> None:
    webhook = await outbox.webhook("dead")
    outbox.receiver.always["dead"] = 500
    await outbox.tell(webhook, 30)
    async with outbox.node(disable_after=0.5):
        shown = await outbox.until_shown(webhook, state="disabled")
        assert (shown.waiting, shown.given_up, shown.last_status) == (0, 30, 500)
        assert shown.disabled_at is not None
        asked = outbox.receiver.requests["dead"]
        await outbox.tell(webhook, 1)
        await nothing_happens_for(1.5)
        assert outbox.receiver.requests["dead"] == asked
    entries = await AuditRepository(outbox.database).list_entries_of_publisher(outbox.publisher_id, None, 10)
    assert (entries[0].action, entries[0].actor, entries[0].subject) == (
        "webhook.disabled",
        "relay",
        str(webhook),
    )


async def test_a_receiver_that_is_gone_is_disabled_at_once(outbox: Outbox) -> None:
    webhook = await outbox.webhook("gone")
    outbox.receiver.always["gone"] = 410
    await outbox.tell(webhook, 1)
    async with outbox.node():
        await outbox.until_shown(webhook, state="disabled", given_up=1)


async def test_old_messages_and_too_many_are_given_up_and_counted(outbox: Outbox) -> None:
    old, many, gone = [await outbox.webhook(name) for name in ("old", "many", "gone")]
    await outbox.tell(old, 4, ago=3700)
    await outbox.tell(old, 2)
    await outbox.tell(many, 15)
    await outbox.tell(gone, 5)
    async with outbox.database.connection() as connection:
        await connection.execute("DELETE FROM webhook WHERE webhook_id = $1", gone)
    queue = WebhookQueueRepository(outbox.database, KEYS, uuid4())
    for _ in range(2):
        await queue.drop_old_messages(outbox.clock.now() - timedelta(hours=1), 10)
        first, second = await outbox.shown(old), await outbox.shown(many)
        assert (first.waiting, first.given_up) == (2, 4)
        assert (second.waiting, second.given_up) == (10, 5)
    async with outbox.database.connection() as connection:
        assert (
            await connection.fetchval("SELECT count(*) FROM webhook_event WHERE webhook_id = $1", gone) == 0
        )
        left = await connection.fetch("SELECT reason FROM webhook_event WHERE webhook_id = $1", many)
    assert {int(row[0]) for row in left} == set(range(6, 16)), "the oldest go"


async def test_what_is_told_of_a_push_that_is_not_kept_any_more_is_let_go(outbox: Outbox) -> None:
    webhook = await outbox.webhook("w")
    await outbox.tell(webhook, 1, push=uuid4())
    async with outbox.node():
        shown = await outbox.until_shown(webhook, waiting=0)
    assert (shown.state, shown.last_attempt_at) == ("active", None)


async def test_a_secret_that_no_key_opens_is_told(outbox: Outbox) -> None:
    webhook = await outbox.webhook("w", keys=("another key of more than thirty-two",))
    await outbox.tell(webhook, 1)
    async with outbox.node():
        shown = await outbox.until_shown(webhook, state="failing")
    assert shown.last_error == "The relay cannot read the webhook's secret."
    assert not outbox.receiver.requests
