"""Steps of the tests of broadcast channels: create, ask for, push to, and look at Apple's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from apns_standin import ListenerFault
from relay.node.main import Relay
from sdk_stub.client import BundleInfo, ServicesClient
from tests.eventually import eventually

from .store import App, Copy, Store

NOW = int(time.time())
UPDATE = {"aps": {"timestamp": NOW, "event": "update", "content-state": {"home": 2, "away": 1}}}
END = {"aps": {"timestamp": NOW, "event": "end"}}
DOWN = ListenerFault("service_unavailable")


@asynccontextmanager
async def services(relay: Relay, copy: Copy) -> AsyncIterator[ServicesClient]:
    """Open the SDK of that copy."""
    bundle = BundleInfo(UUID(copy.uuid), "TEAM000001", copy.install_token)
    async with ServicesClient(relay.url, bundle) as client:
        yield client


async def create_channel(store: Store, app: App, *, message_storage: bool = True) -> str:
    body = {"app_id": app.app_id, "message_storage": message_storage}
    return str((await store.must("POST", "/v1.0/channels/", app.push_token, body))["id"])


async def ask_for_channel(store: Store, copy: Copy, channel_id: str) -> str:
    """Return the id of Apple's channel for that copy."""
    answer = await store.must("GET", f"/v1.0/installation/channels/{channel_id}/", copy.install_token)
    return str(answer["apns_channel_id"])


async def send_to_channel(store: Store, app: App, channel_id: str, **fields: Any) -> dict[str, Any]:
    body = {"payload": UPDATE, **fields}
    answer: dict[str, Any] = await store.must(
        "POST", f"/v1.0/channels/{channel_id}/send/", app.push_token, body
    )
    return answer


async def page_in_state(store: Store, app: App, channel_id: str, push_id: str, state: str) -> dict[str, Any]:
    """Return the page of the push once its state is `state`."""

    async def page_with_state() -> dict[str, Any]:
        page: dict[str, Any] = await store.must(
            "GET", f"/v1.0/channels/{channel_id}/pushes/{push_id}/", app.push_token
        )
        assert page["state"] == state, page
        return page

    return await eventually(page_with_state)


async def push_to_channel(store: Store, app: App, channel_id: str, **fields: Any) -> dict[str, Any]:
    """Send, wait until the push is done, and return its page."""
    sent = await send_to_channel(store, app, channel_id, **fields)
    return await page_in_state(store, app, channel_id, sent["push_id"], "done")


async def apple_channels(store: Store, count: int) -> list[dict[str, Any]]:
    """Return Apple's channels once there are `count`."""
    await eventually(lambda: len(store.apns.channels()) == count)
    return store.apns.channels()
