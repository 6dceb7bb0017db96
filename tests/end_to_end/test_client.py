"""The publisher's client against a whole relay, down to what a device receives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.client import BlockingPushSender, ClientError, PushSender
from relay.node.main import Relay

from .store import ALERT, App, Store


@asynccontextmanager
async def sender_of(store: Store, app: App, relay: Relay) -> AsyncIterator[PushSender]:
    async with PushSender(app.push_token, app.app_id, relay.url, session=store.http) as sender:
        yield sender


async def test_a_payload_arrives_and_its_outcome_is_watched(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy, other = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    async with sender_of(store, app, relay) as sender:
        result = await sender.send(ALERT, {copy.customer: [copy.device]})
        assert (result.success, result.warnings, result.errors) == (True, (), ())
        assert result.push_id is not None
        seen = [push async for push in sender.watch(result.push_id, 0.05)]
        assert (seen[-1]["state"], seen[-1]["counts"]["delivered"]) == ("done", 1)
        assert await store.received(copy, other) == [1, 0]
        listed = [delivery async for delivery in sender.every(f"pushes/{result.push_id}/deliveries/")]
        assert [(delivery["device"], delivery["outcome"]) for delivery in listed] == [
            (copy.device, "delivered")
        ]


async def test_a_refused_push_has_an_error_for_each_field(store: Store, relay: Relay) -> None:
    app, foreign = await store.app(), await store.app()
    stranger = await store.copy(foreign, "anna", "a1")
    async with sender_of(store, app, relay) as sender:
        result = await sender.send({"aps": {"badge": "1"}}, {stranger.customer: []})
        assert not result.success
        assert {error.pointer for error in result.errors} == {
            "/payload/aps/badge",
            f"/destinations/{stranger.customer}",
        }
    async with PushSender("push_x", app.app_id, relay.url, session=store.http) as sender:
        assert [error.code for error in (await sender.send(ALERT, {"c_x": []})).errors] == ["unauthenticated"]
        with pytest.raises(ClientError) as raised:
            await sender.push("0192f1a0-0000-7000-8000-000000000000")
        assert raised.value.status == 401


async def test_a_push_without_recipients_is_an_error(store: Store, relay: Relay) -> None:
    app = await store.app()
    silent = await store.copy(app, "anna", "a1", register=False)
    async with sender_of(store, app, relay) as sender:
        result = await sender.send(ALERT, {silent.customer: []})
        assert not result.success
        assert [error.code for error in result.errors] == ["no_recipients"]
        assert [warning.pointer for warning in result.warnings] == [f"/destinations/{silent.customer}"]


async def test_the_blocking_client_sends(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")

    def work() -> str | None:
        with BlockingPushSender(app.push_token, app.app_id, relay.url) as sender:
            return sender.send(ALERT, {copy.customer: []}).raise_for_errors().push_id

    push_id = await asyncio.to_thread(work)
    assert push_id is not None
    await store.done(app, push_id)
    assert await store.received(copy) == [1]
