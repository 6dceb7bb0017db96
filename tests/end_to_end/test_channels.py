"""Broadcast channels: created by publishers, created at Apple on demand, listed and deleted."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from uuid import uuid4

from apns_standin import ListenerFault
from relay.node.main import Relay
from relay.settings import Settings

from .channels import (
    DOWN,
    UPDATE,
    apple_channels,
    ask_for_channel,
    create_channel,
    push_to_channel,
)
from .store import Store


async def test_concurrent_requests_create_one_channel_at_apple(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    channel_id = await create_channel(store, app)
    assert len(set(await asyncio.gather(*(ask_for_channel(store, copy, channel_id) for _ in range(10))))) == 1
    assert len(store.apns.channels()) == 1


async def test_two_nodes_that_create_a_channel_keep_one(
    store: Store, relay: Relay, settings: Settings
) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    channel_id = await create_channel(store, app)
    slow = ListenerFault("slow", seconds=0.5)
    await store.apns.management["production"].set_fault(slow)  # both nodes ask Apple before either is done
    async with AsyncExitStack() as stack:
        second = await Relay.start(settings, stack)

        async def ask_second() -> str:
            path = f"{second.url}/v1.0/installation/channels/{channel_id}/"
            headers = {"Authorization": f"Bearer {copy.install_token}"}
            async with store.http.get(path, headers=headers) as response:
                return str((await response.json())["apns_channel_id"])

        first, other = await asyncio.gather(ask_for_channel(store, copy, channel_id), ask_second())
        assert first == other
        [kept] = await apple_channels(store, 1)
        assert kept["channel_id"] == first


async def test_a_deleted_channel_is_deleted_at_apple(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna", f"a{n}") for n in range(3)]
    deleted, remaining = await create_channel(store, app), await create_channel(store, app)
    for copy in copies:
        await ask_for_channel(store, copy, deleted)
    kept = await ask_for_channel(store, copies[0], remaining)
    sent = await push_to_channel(store, app, deleted)
    await store.apns.management["production"].set_fault(DOWN)
    path = f"/v1.0/channels/{deleted}/"
    assert (await store.call("DELETE", path, app.push_token))[0] == 204
    assert len(store.apns.channels()) == 4, "Apple is down"
    await store.apns.management["production"].clear_faults()
    [left] = await apple_channels(store, 1)
    assert left["channel_id"] == kept
    for method, where, token, body in (
        ("GET", path, app.push_token, None),
        ("DELETE", path, app.push_token, None),
        ("POST", f"{path}send/", app.push_token, {"payload": UPDATE}),
        ("GET", f"{path}pushes/{sent['push_id']}/", app.push_token, None),
        ("GET", f"/v1.0/installation/channels/{deleted}/", copies[0].install_token, None),
    ):
        assert (await store.call(method, where, token, body))[0] == 404, where
    assert (await push_to_channel(store, app, remaining))["counts"]["delivered"] == 1


async def test_a_final_refusal_by_apple_is_answered_with_its_reason(store: Store) -> None:
    """The bundle identifier was transferred to another team; the relay does not know that team."""
    app = await store.app()
    copy, channel_id = await store.copy(app, "anna", "a1"), await create_channel(store, app)
    bundle_id = (await store.must("GET", "/v1.0/installation/", copy.install_token))["bundle_id"]
    store.apns.register_topic(bundle_id, "TEAM000009", transfer=True)
    status, answer = await store.call("GET", f"/v1.0/installation/channels/{channel_id}/", copy.install_token)
    assert (status, answer["detail"]) == (409, "Apple makes no channel for this copy: TopicMismatch.")


async def test_channels_are_listed_page_by_page(store: Store) -> None:
    app = await store.app()
    other = await store.app(app.publisher)
    mine = [await create_channel(store, app, message_storage=n == 1) for n in range(3)]
    theirs = await create_channel(store, other)
    page = await store.must("GET", "/v1.0/channels/?limit=2", app.push_token)
    assert [item["id"] for item in page["items"]] == mine[:2]
    assert [item["message_storage"] for item in page["items"]] == [False, True]
    rest = await store.must("GET", f"/v1.0/channels/?cursor={page['next']}", app.push_token)
    assert ([item["id"] for item in rest["items"]], rest["next"]) == (mine[2:], None)
    everything = await store.must("GET", "/v1.0/channels/", app.publisher.manage_token)
    assert [item["id"] for item in everything["items"]] == [*mine, theirs]
    await ask_for_channel(store, await store.copy(app, "anna", "a1"), mine[0])
    shown = await store.must("GET", f"/v1.0/channels/{mine[0]}/", app.publisher.manage_token)
    assert (shown["app_id"], shown["bundle_ids"]) == (app.app_id, 1)


async def test_creation_and_deletion_of_a_channel_are_audited(store: Store) -> None:
    app = await store.app()
    manage = app.publisher.manage_token
    channel_id = await create_channel(store, app)
    await store.must("DELETE", f"/v1.0/channels/{channel_id}/", manage)
    entries = (await store.must("GET", "/v1.0/audit/?limit=2", manage))["items"]
    assert [entry["action"] for entry in entries] == ["channel.deleted", "channel.created"]
    assert {entry["subject"] for entry in entries} == {channel_id}
    assert entries[0]["detail"] == {"app_id": app.app_id}


async def test_channels_of_other_publishers_are_not_found(store: Store) -> None:
    app, other = await store.app(), await store.app()
    channel_id = await create_channel(store, app)
    copy = await store.copy(other, "eve", "e1")
    assert (await store.call("GET", f"/v1.0/installation/channels/{channel_id}/", copy.install_token))[
        0
    ] == 404
    for token in (other.push_token, other.publisher.manage_token):
        body = {"app_id": app.app_id}
        assert (await store.call("POST", "/v1.0/channels/", token, body))[0] == 404
    assert store.apns.channels() == []
    unknown = f"/v1.0/channels/{uuid4()}/"
    assert (await store.call("GET", unknown, app.push_token))[0] == 404
    assert (await store.call("GET", "/v1.0/channels/%00/", app.push_token))[0] == 404
    assert (await store.call("GET", f"/v1.0/channels/{secrets.token_hex(16)}x/", app.push_token))[0] == 404
