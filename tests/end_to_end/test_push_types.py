"""Every push type, from the SDK's device token to the notification: no other device token receives it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest

from apns_standin import ControlClient
from relay.core.push.push_types import PUSH_TYPES
from relay.node.main import Relay
from sdk_stub.client import BundleInfo
from sdk_stub.device import SimulatedDevice

from .store import Copy, Store

KINDS = (
    "apns",
    "voip",
    "complication",
    "fileprovider",
    "mdm",
    "location",
    "pushtotalk",
    "widgets",
    "controls",
    "liveactivity",
    "liveactivity-start",
    "liveactivity:game-1",
    "liveactivity:game-2",
)
NOW = int(time.time())
UPDATE = {"timestamp": NOW, "event": "update", "content-state": {"score": 3}}
END = {"timestamp": NOW, "event": "end"}
START = {
    "timestamp": NOW,
    "event": "start",
    "content-state": {"score": 0},
    "attributes-type": "Game",
    "attributes": {"home": "Kyiv"},
    "alert": {"title": {"loc-key": "%@ plays", "loc-args": ["Kyiv"]}, "body": "It begins.", "sound": "gong"},
}

# (push type, aps, further fields of the send, the kind of device token it goes to, suffix of the topic)
SENDS: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    ("alert", {"alert": "x"}, {}, "apns", ""),
    ("background", {"content-available": 1}, {}, "apns", ""),
    ("voip", {}, {}, "voip", ".voip"),
    ("complication", {}, {}, "complication", ".complication"),
    ("fileprovider", {}, {}, "fileprovider", ".pushkit.fileprovider"),
    ("mdm", {}, {}, "mdm", ""),
    ("location", {}, {}, "location", ".location-query"),
    ("pushtotalk", {}, {}, "pushtotalk", ".voip-ptt"),
    ("widgets", {"content-changed": True}, {}, "widgets", ".push-type.widgets"),
    ("controls", {"content-changed": True}, {}, "controls", ".push-type.controls"),
    ("liveactivity", UPDATE, {}, "liveactivity", ".push-type.liveactivity"),
    ("liveactivity", START, {}, "liveactivity-start", ".push-type.liveactivity"),
    ("liveactivity", UPDATE, {"activity": "game-1"}, "liveactivity:game-1", ".push-type.liveactivity"),
    ("liveactivity", END, {"activity": "game-2"}, "liveactivity:game-2", ".push-type.liveactivity"),
]


class Phone:
    """A copy with a device token of every kind, registered through the SDK."""

    def __init__(self, copy: Copy, device: SimulatedDevice) -> None:
        self.copy = copy
        self.device = device

    async def received(self) -> dict[str, list[dict[str, Any]]]:
        """Return headers and payload of each notification since the last call, by kind of device token."""
        arrived = {kind: await self.device.receive(0, kind) for kind in KINDS}
        return {
            kind: [{**received.headers, "payload": received.payload} for received in notifications]
            for kind, notifications in arrived.items()
            if notifications
        }


@pytest.fixture
async def phone(store: Store, relay: Relay) -> AsyncIterator[Phone]:
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(ControlClient(store.apns.control_url))
        copy = await store.copy(await store.app(), "anna", "a1", register=False)
        bundle = BundleInfo(UUID(copy.uuid), "TEAM000001", copy.install_token)
        device = await stack.enter_async_context(SimulatedDevice(relay.url, bundle, control))
        await device.launch()
        for kind in KINDS[1:]:
            await device.register(kind)
        yield Phone(copy, device)


def body(push_type: str, aps: dict[str, Any]) -> dict[str, Any]:
    return {"aps": aps, "mdm": "magic"} if push_type == "mdm" else {"aps": aps, "mine": 1}


async def send(
    store: Store, copy: Copy, push_type: str, aps: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    """Send to the customer of that copy and return the page of the done push."""
    everything = {copy.customer: []}
    return await store.push(copy.app, everything, body(push_type, aps), push_type=push_type, **fields)


def test_every_push_type_has_a_send() -> None:
    assert {row[0] for row in SENDS} == PUSH_TYPES.keys()


async def test_every_push_type_reaches_its_own_device_token(store: Store, phone: Phone) -> None:
    bundle_id = await phone.device.services.get_apple_bundle_identifier()
    for push_type, aps, fields, kind, suffix in SENDS:
        where = (push_type, aps.get("event"), fields)
        page = await send(store, phone.copy, push_type, aps, **fields)
        assert (page["counts"]["delivered"], page["targets"]) == (1, 1), where
        got = await phone.received()
        assert got.keys() == {kind}, where
        [arrived] = got[kind]
        assert arrived["apns-topic"] == bundle_id + suffix, where
        assert arrived["apns-push-type"] == push_type, where
        assert arrived["payload"] == body(push_type, aps), where


async def test_calls_expire_at_once(store: Store, phone: Phone) -> None:
    await send(store, phone.copy, "voip", {})
    await send(store, phone.copy, "pushtotalk", {})
    await send(store, phone.copy, "voip", {}, ttl=20)
    got = await phone.received()
    assert got["pushtotalk"][0]["apns-expiration"] == got["voip"][0]["apns-expiration"] == "0"
    assert NOW < int(got["voip"][1]["apns-expiration"]) <= time.time() + 21
    for push_type, ttl in (("voip", 31), ("pushtotalk", 1)):
        status, answer = await store.send(
            phone.copy.app, {phone.copy.customer: []}, {"aps": {}}, push_type=push_type, ttl=ttl
        )
        assert (status, answer["errors"][0]["pointer"]) == (422, "/ttl")


async def test_a_retried_start_goes_to_the_start_token(store: Store, phone: Phone) -> None:
    """A retry is claimed from the queue, where the kind of token must be known too."""
    token = await phone.device.register("liveactivity-start")
    store.apns.answer(token, 503, "ServiceUnavailable", times=2)
    page = await send(store, phone.copy, "liveactivity", START)
    assert page["counts"]["delivered"] == 1
    assert (await phone.received()).keys() == {"liveactivity-start"}


async def test_a_start_for_all_goes_to_start_tokens(store: Store, phone: Phone) -> None:
    page = await store.push(phone.copy.app, "all", {"aps": START}, push_type="liveactivity")
    assert (page["counts"]["delivered"], page["targets"]) == (1, 1)
    assert (await phone.received()).keys() == {"liveactivity-start"}


async def test_the_end_of_an_activity_retires_no_token_and_a_dead_token_only_itself(
    store: Store, phone: Phone
) -> None:
    copy = phone.copy
    for _ in range(2):
        assert (await send(store, copy, "liveactivity", END, activity="game-1"))["counts"]["delivered"] == 1
    store.apns.unregister(await phone.device.register("liveactivity:game-2"))
    page = await send(store, copy, "liveactivity", END, activity="game-2")
    assert page["counts"]["unregistered"] == 1
    status, answer = await store.send(
        copy.app, {copy.customer: []}, {"aps": UPDATE}, push_type="liveactivity", activity="game-2"
    )
    assert (status, answer["targets"], answer["warnings"][0]["code"]) == (202, 0, "unreachable")
    assert (await send(store, copy, "liveactivity", UPDATE, activity="game-1"))["counts"]["delivered"] == 1
    assert (await send(store, copy, "alert", {"alert": "x"}))["counts"]["delivered"] == 1


async def test_an_activity_that_the_app_ended_has_no_targets(store: Store, phone: Phone) -> None:
    await phone.device.withdraw("liveactivity:game-1")
    page = await send(store, phone.copy, "liveactivity", UPDATE, activity="game-1")
    assert page["targets"] == 0
    assert await phone.received() == {}


@pytest.mark.parametrize(
    ("payload", "fields", "pointer"),
    [
        ({"aps": START}, {"push_type": "liveactivity", "activity": "game-1"}, "/activity"),
        ({"aps": UPDATE}, {"push_type": "liveactivity", "activity": "game 1"}, "/activity"),
        ({"aps": UPDATE}, {"push_type": "liveactivity", "activity": ""}, "/activity"),
        ({"aps": UPDATE}, {"push_type": "liveactivity", "activity": "a" * 65}, "/activity"),
        ({"aps": UPDATE}, {"push_type": "liveactivity", "activity": "game-1\n"}, "/activity"),
        ({"aps": {"alert": "x"}}, {"activity": "game-1"}, "/activity"),
        ({"aps": UPDATE}, {"push_type": "liveactivity", "priority": 1}, "/priority"),
        (
            {"aps": {"event": "update", "timestamp": 1}},
            {"push_type": "liveactivity"},
            "/payload/aps/content-state",
        ),
        ({"aps": {"content-available": 1}}, {"push_type": "background", "priority": 10}, "/priority"),
        ({"aps": {}}, {"push_type": "pushtotalk", "priority": 5}, "/priority"),
        ({"aps": {}}, {"push_type": "widgets"}, "/payload/aps/content-changed"),
        ({"aps": {}}, {"push_type": "voip", "expiration": NOW + 3600}, "/expiration"),
    ],
)
async def test_fields_that_do_not_suit_the_push_type_are_refused(
    store: Store, phone: Phone, payload: Any, fields: dict[str, Any], pointer: str
) -> None:
    status, answer = await store.send(phone.copy.app, {phone.copy.customer: []}, payload, **fields)
    assert status == 422
    assert [error["pointer"] for error in answer["errors"]] == [pointer]
    assert await phone.received() == {}
