"""The calls that 4D's publishers know, and newer ones, through the client down to the devices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from relay.client import PushSender, Record
from relay.node.main import Relay

from .store import App, Copy, Store

ANNA, BERT, UNKNOWN = "anna@example.com", "bert@example.com", "unknown@example.com"
NOTIFICATION = {
    "title": "secret-text-of-a-title",
    "subtitle": "secret-text-of-a-subtitle",
    "body": "…",
    "badge": 3,
    "sound": "default",
}


class Shop:
    """An app on three devices of two customers, with e-mail addresses."""

    def __init__(self, store: Store, app: App, copies: list[Copy]) -> None:
        self.store, self.app, self.copies = store, app, copies

    async def payloads(self, copy: Copy) -> list[Any]:
        return [
            notification["payload"] for notification in await self.store.apns.notifications(copy.device_token)
        ]

    async def settled(self, push_id: str | None) -> dict[str, Any]:
        assert push_id is not None
        return await self.store.done(self.app, push_id)


@pytest.fixture
async def shop(store: Store) -> Shop:
    app = await store.app()
    app.push_token = await store.push_token(app.publisher, app.app_id, broadcast=True)
    copies = [
        await store.copy(app, who, udid) for who, udid in (("anna", "a1"), ("anna", "a2"), ("bert", "b1"))
    ]
    for copy, address in ((copies[0], ANNA), (copies[2], BERT)):
        path = f"/v1.0/customers/{copy.customer}/aliases/"
        await store.must("POST", path, app.push_token, {"alias": address})
    return Shop(store, app, copies)


@pytest.fixture
async def sender(shop: Shop, relay: Relay) -> AsyncIterator[PushSender]:
    app = shop.app
    async with PushSender(app.push_token, app.app_id, relay.url, session=shop.store.http) as sender:
        yield sender


async def test_a_notification_to_an_address(shop: Shop, sender: PushSender) -> None:
    result = await sender.send_notification(NOTIFICATION, [ANNA, UNKNOWN])
    assert (result.success, result.errors) == (True, ())
    assert [warning.pointer for warning in result.warnings] == ["/destinations/1"]
    await shop.settled(result.push_id)
    assert await shop.store.received(*shop.copies) == [1, 1, 0]
    alert = {"title": "secret-text-of-a-title", "subtitle": "secret-text-of-a-subtitle", "body": "…"}
    sent = {"aps": {"alert": alert, "badge": 3, "sound": "default"}}
    assert await shop.payloads(shop.copies[0]) == [sent]


async def test_no_recipients_at_all_is_an_error(sender: PushSender) -> None:
    result = await sender.send_notification(NOTIFICATION, [UNKNOWN])
    assert (result.success, [error.code for error in result.errors]) == (False, ["no_recipients"])
    assert [error.code for error in (await sender.send_notification(NOTIFICATION, [])).errors] == [
        "no_recipients"
    ]


async def test_opening_a_list_or_a_record(shop: Shop, sender: PushSender) -> None:
    for target, more in (
        ("Invoices", {}),
        (Record("Invoices", 7), {}),
        (Record("Invoices", 7), {"user_info": {"dataSynchro": False}}),
    ):
        result = await sender.open(target, {"title": "secret-text-of-a-title", **more}, BERT)
        await shop.settled(result.push_id)
    base = {"aps": {"alert": {"title": "secret-text-of-a-title"}}, "dataClass": "Invoices"}
    assert await shop.payloads(shop.copies[2]) == [
        base,
        base | {"entity": {"primaryKey": 7}, "dataSynchro": True},
        base | {"entity": {"primaryKey": 7}, "dataSynchro": False},
    ]


async def test_a_push_to_everybody_needs_the_broadcast_right(
    shop: Shop, sender: PushSender, relay: Relay
) -> None:
    result = await sender.send_all(NOTIFICATION)
    assert result.success
    assert (await shop.settled(result.push_id))["counts"]["delivered"] == 3
    plain = await shop.store.push_token(shop.app.publisher, shop.app.app_id)
    async with PushSender(plain, shop.app.app_id, relay.url) as other:
        refused = await other.send_all(NOTIFICATION)
    assert (refused.success, [error.pointer for error in refused.errors]) == (False, ["/destinations"])


async def test_a_lost_answer_causes_no_second_push(shop: Shop, relay: Relay) -> None:
    """The relay stores the push, and the connection breaks before the answer arrives."""
    lost = asyncio.Event()
    port = urlsplit(relay.url).port

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)

        async def answers() -> None:
            while data := await there_reader.read(65_536):
                if not lost.is_set():
                    lost.set()
                    writer.transport.abort()
                    return
                writer.write(data)

        async def requests() -> None:
            while data := await reader.read(65_536):
                there_writer.write(data)

        await asyncio.gather(answers(), requests(), return_exceptions=True)
        there_writer.close()
        writer.close()

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as between:
        url = f"http://127.0.0.1:{between.sockets[0].getsockname()[1]}"
        async with PushSender(shop.app.push_token, shop.app.app_id, url) as sender:
            result = await sender.send_notification(NOTIFICATION, ANNA)
    assert lost.is_set()
    assert result.success
    await shop.settled(result.push_id)
    assert await shop.store.received(*shop.copies) == [1, 1, 0]


async def test_a_send_can_wait_for_the_outcome(shop: Shop, sender: PushSender) -> None:
    shop.store.apns.unregister(shop.copies[1].device_token)
    some = await sender.send_notification(NOTIFICATION, ANNA, wait=30)
    assert (some.success, [warning.detail for warning in some.warnings]) == (True, ["1 × Unregistered"])
    assert some.answer["push"]["state"] == "done"
    none = await sender.send_notification(
        NOTIFICATION, {shop.copies[1].customer: [shop.copies[1].device]}, wait=30
    )
    assert (none.success, [error.code for error in none.errors]) == (False, ["no_recipients"])


async def test_a_notification_is_validated(shop: Shop, sender: PushSender) -> None:
    result = await sender.validate({"notification": NOTIFICATION}, [ANNA, BERT])
    assert (result.success, result.push_id, result.answer["targets"]) == (True, None, 3)
    assert result.answer["payload"]["aps"]["badge"] == 3
    refused = await sender.validate({"notification": {"body": "…"}}, ANNA)
    assert [error.pointer for error in refused.errors] == ["/notification/title"]
    assert await shop.store.received(*shop.copies) == [0, 0, 0]


async def test_cancelling_a_done_push_changes_nothing(shop: Shop, sender: PushSender) -> None:
    result = await sender.send_notification(NOTIFICATION, BERT, wait=30)
    assert result.push_id is not None
    assert (await sender.cancel(result.push_id))["counts"]["delivered"] == 1


async def test_customers_are_listed_and_searched(shop: Shop, sender: PushSender) -> None:
    anna, _, bert = shop.copies
    everybody = {
        customer["customer_id"]: len(customer["devices"]) async for customer in sender.every("customers/")
    }
    assert everybody == {anna.customer: 2, bert.customer: 1}
    result = await sender.call("POST", "customers/search/", {"alias": "Bert@Example.com "})
    assert [customer["customer_id"] for customer in result["items"]] == [bert.customer]
