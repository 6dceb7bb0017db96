"""Broadcast channels, from the publisher who makes one to what Apple's channels receive."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from apns_standin import ListenerFault
from relay.node.main import Relay
from relay.settings import DispatchSettings, Settings
from sdk_stub.client import BundleInfo, ServicesClient
from tests.eventually import eventually, nothing_happens_for

from .log import Log
from .store import App, Copy, Store

NOW = int(time.time())
UPDATE = {"aps": {"timestamp": NOW, "event": "update", "content-state": {"home": 2, "away": 1}}}
END = {"aps": {"timestamp": NOW, "event": "end"}}
DOWN = ListenerFault("service_unavailable")


@asynccontextmanager
async def services(relay: Relay, copy: Copy) -> AsyncIterator[ServicesClient]:
    """The SDK in that copy."""
    bundle = BundleInfo(UUID(copy.uuid), "TEAM000001", copy.install_token)
    async with ServicesClient(relay.url, bundle) as client:
        yield client


async def channel(store: Store, app: App, *, message_storage: bool = True) -> str:
    body = {"app_id": app.app_id, "message_storage": message_storage}
    return str((await store.must("POST", "/v1.0/channels/", app.push_token, body))["id"])


async def ask(store: Store, copy: Copy, channel_id: str) -> str:
    """Apple's channel for that copy."""
    answer = await store.must("GET", f"/v1.0/installation/channels/{channel_id}/", copy.install_token)
    return str(answer["apns_channel_id"])


async def send(store: Store, app: App, channel_id: str, **fields: Any) -> dict[str, Any]:
    body = {"payload": UPDATE, **fields}
    answer: dict[str, Any] = await store.must(
        "POST", f"/v1.0/channels/{channel_id}/send/", app.push_token, body
    )
    return answer


async def until(store: Store, app: App, channel_id: str, push_id: str, state: str) -> dict[str, Any]:
    """Return the page of the push once its state is `state`."""

    async def page_in_state() -> dict[str, Any]:
        page: dict[str, Any] = await store.must(
            "GET", f"/v1.0/channels/{channel_id}/pushes/{push_id}/", app.push_token
        )
        assert page["state"] == state, page
        return page

    return await eventually(page_in_state)


async def push(store: Store, app: App, channel_id: str, **fields: Any) -> dict[str, Any]:
    """Send and wait for the end; its page."""
    sent = await send(store, app, channel_id, **fields)
    return await until(store, app, channel_id, sent["push_id"], "done")


async def apples(store: Store, count: int) -> list[dict[str, Any]]:
    """Return Apple's channels once there are `count`."""
    await eventually(lambda: len(store.apns.channels()) == count)
    return store.apns.channels()


async def test_a_push_reaches_apples_channel_of_every_copy(store: Store, relay: Relay) -> None:
    app = await store.app()
    phone = await store.copy(app, "anna", "a1")
    tablet = await store.copy(app, "bert", "b1", environment="sandbox", team_id="TEAM000002")
    channel_id = await channel(store, app)
    assert store.apns.channels() == [], "Apple's channels are made when they are needed"
    async with services(relay, phone) as sdk:
        mine = await sdk.get_broadcast_channel(UUID(channel_id))
        assert await sdk.get_broadcast_channel(UUID(channel_id)) == mine
        bundle_id = await sdk.get_apple_bundle_identifier()
    other = await ask(store, tablet, channel_id)
    made = {one["channel_id"]: one for one in store.apns.channels()}
    assert made.keys() == {mine, other}
    assert (made[mine]["bundle_id"], made[mine]["message_storage"]) == (bundle_id, True)
    assert (made[mine]["environment"], made[other]["environment"]) == ("production", "sandbox")

    page = await push(store, app, channel_id, priority=5, ttl=3600)
    assert {name: page[name] for name in ("targets", "counts", "priority", "reasons", "channel_id")} == {
        "targets": 2,
        "counts": {"delivered": 2, "failed": 0, "expired": 0, "pending": 0},
        "priority": 5,
        "reasons": {},
        "channel_id": channel_id,
    }
    for apns_channel_id in (mine, other):
        [got] = await store.apns.channel_notifications(apns_channel_id)
        headers = got["headers"]
        assert (got["payload"], headers["apns-push-type"], headers["apns-priority"]) == (
            UPDATE,
            "liveactivity",
            "5",
        )
        assert int(headers["apns-expiration"]) == page["expiration"] > NOW
        assert headers["apns-request-id"] == page["push_id"]
    assert await store.received(phone, tablet) == [0, 0], "no device token was used"


async def test_a_channel_that_stores_nothing(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    channel_id = await channel(store, app, message_storage=False)
    mine = await ask(store, copy, channel_id)
    page = await push(store, app, channel_id, payload=END)
    assert (page["counts"]["delivered"], page["expiration"]) == (1, 0)
    assert (await store.apns.channel_notifications(mine))[0]["headers"]["apns-expiration"] == "0"
    for fields, pointer in (({"ttl": 5}, "/ttl"), ({"expiration": NOW + 3600}, "/expiration")):
        path, body = f"/v1.0/channels/{channel_id}/send/", {"payload": UPDATE, **fields}
        status, answer = await store.call("POST", path, app.push_token, body)
        assert (status, [error["pointer"] for error in answer["errors"]]) == (422, [pointer])


async def test_many_copies_that_ask_at_once_make_one_channel(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    channel_id = await channel(store, app)
    assert len(set(await asyncio.gather(*(ask(store, copy, channel_id) for _ in range(10))))) == 1
    assert len(store.apns.channels()) == 1


async def test_nodes_that_make_the_same_channel_keep_one(
    store: Store, relay: Relay, settings: Settings
) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    channel_id = await channel(store, app)
    slow = ListenerFault("slow", seconds=0.5)
    await store.apns.management["production"].set_fault(slow)  # so that each asks before the other is done
    async with AsyncExitStack() as stack:
        second = await Relay.start(settings, stack)

        async def ask_second() -> str:
            path = f"{second.url}/v1.0/installation/channels/{channel_id}/"
            headers = {"Authorization": f"Bearer {copy.install_token}"}
            async with store.http.get(path, headers=headers) as response:
                return str((await response.json())["apns_channel_id"])

        first, other = await asyncio.gather(ask(store, copy, channel_id), ask_second())
        assert first == other
        [kept] = await apples(store, 1)
        assert kept["channel_id"] == first


async def test_nobody_has_asked(store: Store) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    sent = await send(store, app, channel_id)
    assert (sent["targets"], [warning["code"] for warning in sent["warnings"]]) == (0, ["unreachable"])
    page = await until(store, app, channel_id, sent["push_id"], "done")
    assert page["counts"] == {"delivered": 0, "failed": 0, "expired": 0, "pending": 0}


async def test_a_deleted_channel_is_deleted_at_apple(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna", f"a{n}") for n in range(3)]
    gone, stays = await channel(store, app), await channel(store, app)
    for copy in copies:
        await ask(store, copy, gone)
    kept = await ask(store, copies[0], stays)
    sent = await push(store, app, gone)
    await store.apns.management["production"].set_fault(DOWN)
    path = f"/v1.0/channels/{gone}/"
    assert (await store.call("DELETE", path, app.push_token))[0] == 204
    assert len(store.apns.channels()) == 4, "Apple is down"
    await store.apns.management["production"].clear_faults()
    [left] = await apples(store, 1)
    assert left["channel_id"] == kept
    for method, where, token, body in (
        ("GET", path, app.push_token, None),
        ("DELETE", path, app.push_token, None),
        ("POST", f"{path}send/", app.push_token, {"payload": UPDATE}),
        ("GET", f"{path}pushes/{sent['push_id']}/", app.push_token, None),
        ("GET", f"/v1.0/installation/channels/{gone}/", copies[0].install_token, None),
    ):
        assert (await store.call(method, where, token, body))[0] == 404, where
    assert (await push(store, app, stays))["counts"]["delivered"] == 1


# A retry is due long after the test: nothing is under way when the channel is deleted.
@pytest.mark.parametrize("dispatch", [DispatchSettings(retry_first=300, poll=0.1)])
async def test_an_unsent_push_to_a_deleted_channel_is_dropped(store: Store, relay: Relay) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    mine = await ask(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.management["production"].set_fault(DOWN)
    await store.apns.set_fault(DOWN)
    await send(store, app, channel_id)
    waiting = "SELECT count(*) FROM channel_delivery WHERE attempt > 0 AND lease_owner IS NULL"
    async with relay.database.connection() as connection:
        await eventually(lambda: connection.fetchval(waiting))
        await store.must("DELETE", f"/v1.0/channels/{channel_id}/", app.push_token)
        assert not await connection.fetchval("SELECT count(*) FROM channel_delivery")
    await store.apns.clear_faults()
    assert await store.apns.channel_notifications(mine) == []


async def test_a_passing_fault_is_tried_again(store: Store, log: Log) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    mine = await ask(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.set_fault(DOWN)
    sent = await send(store, app, channel_id)
    await nothing_happens_for(0.5)  # several attempts
    page = await until(store, app, channel_id, sent["push_id"], "queued")
    assert page["counts"]["pending"] == 1
    await store.apns.clear_faults()
    assert (await until(store, app, channel_id, sent["push_id"], "done"))["counts"]["delivered"] == 1
    assert len(await store.apns.channel_notifications(mine)) == 1
    answered = [
        line for line in log.grep(sent["push_id"]) if line["event"] == "a push to a channel is answered"
    ]
    assert (answered[0]["attempt"], answered[0]["status"]) == (0, 503)
    assert answered[-1]["status"] == 200


@pytest.mark.parametrize("kind", ["tcp_reset", "refused_stream", "internal_error", "html", "goaway"])
async def test_it_gets_through_whatever_the_connection_does(store: Store, kind: Any) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    mine = await ask(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.set_fault(ListenerFault(kind, received=0))
    sent = await send(store, app, channel_id)
    await nothing_happens_for(0.5)  # several attempts
    await store.apns.clear_faults()
    assert (await until(store, app, channel_id, sent["push_id"], "done"))["counts"]["delivered"] == 1
    assert await store.apns.channel_notifications(mine)


@pytest.mark.parametrize(
    "dispatch", [DispatchSettings(retry_first=0.2, retry_longest=0.5, poll=0.1, immediate_window=1.0)]
)
async def test_a_push_with_expiration_zero_is_not_retried_later(store: Store) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    await ask(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.set_fault(DOWN)
    page = await push(store, app, channel_id, ttl=0)
    assert page["counts"]["expired"] == 1
    # The answer of the last attempt, or that there was time for none.
    assert page["reasons"] in ({"ServiceUnavailable": 1}, {"Expired": 1})


async def test_a_channel_that_apple_lost_is_made_anew(store: Store) -> None:
    app = await store.app()
    copy, channel_id = await store.copy(app, "anna", "a1"), await channel(store, app)
    lost = await ask(store, copy, channel_id)
    store.apns.delete_channel(lost)
    page = await push(store, app, channel_id)
    assert (page["counts"]["failed"], page["reasons"]) == (1, {"ChannelNotRegistered": 1})
    found = await ask(store, copy, channel_id)
    assert found != lost
    assert (await push(store, app, channel_id))["counts"]["delivered"] == 1


async def test_a_refused_credential_is_suspended_and_the_push_waits(store: Store) -> None:
    app = await store.app()
    copy, channel_id = await store.copy(app, "anna", "a1"), await channel(store, app)
    await ask(store, copy, channel_id)
    [known] = (await store.must("GET", "/v1.0/operator/credentials/", store.operator_token))["items"]
    store.apns.revoke_key("TEAM000001", known["key_id"])
    sent = await send(store, app, channel_id)

    async def suspended() -> dict[str, Any]:
        [shown] = (await store.must("GET", "/v1.0/operator/credentials/", store.operator_token))["items"]
        assert shown["state"] == "suspended"
        return shown

    assert (await eventually(suspended))["state_reason"] == "InvalidProviderToken"
    status, answer = await store.call(
        "GET", f"/v1.0/installation/channels/{await channel(store, app)}/", copy.install_token
    )
    assert (status, answer["code"]) == (503, "unavailable")
    store._teams.clear()
    await store.credential("TEAM000001", "production")
    assert (await until(store, app, channel_id, sent["push_id"], "done"))["counts"]["delivered"] == 1


async def test_what_apple_refuses_for_good_is_told(store: Store) -> None:
    """The bundle identifier went to another team, of which the relay knows nothing."""
    app = await store.app()
    copy, channel_id = await store.copy(app, "anna", "a1"), await channel(store, app)
    bundle_id = (await store.must("GET", "/v1.0/installation/", copy.install_token))["bundle_id"]
    store.apns.register_topic(bundle_id, "TEAM000009", transfer=True)
    status, answer = await store.call("GET", f"/v1.0/installation/channels/{channel_id}/", copy.install_token)
    assert (status, answer["detail"]) == (409, "Apple makes no channel for this copy: TopicMismatch.")


async def test_a_certificate_will_do(store: Store) -> None:
    app = await store.app()
    store._teams.add(("TEAM000005", "production"))
    copy = await store.copy(app, "anna", "a1", team_id="TEAM000005")
    bundle_id = (await store.must("GET", "/v1.0/installation/", copy.install_token))["bundle_id"]
    pem = store.apns.issue_certificate("TEAM000005", bundle_id)
    body = {
        "team_id": "TEAM000005",
        "environment": "production",
        "bundle_id": bundle_id,
        "certificate": pem,
    }
    await store.must("POST", "/v1.0/operator/credentials/", store.operator_token, body)
    channel_id = await channel(store, app)
    mine = await ask(store, copy, channel_id)
    assert (await push(store, app, channel_id))["counts"]["delivered"] == 1
    assert (await store.apns.channel_notifications(mine))[0]["key_id"] is None


async def test_channels_are_listed_page_by_page(store: Store) -> None:
    app = await store.app()
    other = await store.app(app.publisher)
    mine = [await channel(store, app, message_storage=n == 1) for n in range(3)]
    theirs = await channel(store, other)
    page = await store.must("GET", "/v1.0/channels/?limit=2", app.push_token)
    assert [one["id"] for one in page["items"]] == mine[:2]
    assert [one["message_storage"] for one in page["items"]] == [False, True]
    rest = await store.must("GET", f"/v1.0/channels/?cursor={page['next']}", app.push_token)
    assert ([one["id"] for one in rest["items"]], rest["next"]) == (mine[2:], None)
    everything = await store.must("GET", "/v1.0/channels/", app.publisher.manage_token)
    assert [one["id"] for one in everything["items"]] == [*mine, theirs]
    await ask(store, await store.copy(app, "anna", "a1"), mine[0])
    shown = await store.must("GET", f"/v1.0/channels/{mine[0]}/", app.publisher.manage_token)
    assert (shown["app_id"], shown["bundle_ids"]) == (app.app_id, 1)


async def test_who_made_and_deleted_a_channel_is_logged(store: Store) -> None:
    app = await store.app()
    manage = app.publisher.manage_token
    channel_id = await channel(store, app)
    await store.must("DELETE", f"/v1.0/channels/{channel_id}/", manage)
    entries = (await store.must("GET", "/v1.0/audit/?limit=2", manage))["items"]
    assert [entry["action"] for entry in entries] == ["channel.deleted", "channel.created"]
    assert {entry["subject"] for entry in entries} == {channel_id}
    assert entries[0]["detail"] == {"app_id": app.app_id}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/payload"),
        ({"payload": []}, "/payload"),
        ({"payload": {"aps": {"timestamp": NOW, "event": "update"}}}, "/payload/aps/content-state"),
        ({"payload": {"aps": {"event": "end"}}}, "/payload/aps/timestamp"),
        (
            {
                "payload": {
                    "aps": {
                        "timestamp": NOW,
                        "event": "start",
                        "content-state": {},
                        "attributes-type": "Game",
                        "attributes": {},
                        "alert": "x",
                    }
                }
            },
            "/payload/aps/event",
        ),
        ({"payload": {**UPDATE, "x": "a" * 5120}}, "/payload"),
        ({"payload": UPDATE, "priority": 1}, "/priority"),
        ({"payload": UPDATE, "ttl": 5, "expiration": NOW + 5000}, "/ttl"),
        ({"payload": UPDATE, "expiration": 1_000_000}, "/expiration"),
        ({"payload": UPDATE, "destinations": "all"}, "/destinations"),
    ],
)
async def test_what_is_wrong_is_named_and_not_sent(
    store: Store, relay: Relay, body: Any, pointer: str
) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    path = f"/v1.0/channels/{channel_id}/send/"
    status, answer = await store.call("POST", path, app.push_token, body)
    assert (status, [error["pointer"] for error in answer["errors"]]) == (422, [pointer])
    async with relay.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM channel_push") == 0


async def test_a_payload_may_be_larger_than_one_to_a_device(store: Store) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    await ask(store, await store.copy(app, "anna", "a1"), channel_id)
    page = await push(store, app, channel_id, payload={**UPDATE, "x": "a" * 4500})
    assert page["counts"]["delivered"] == 1


async def test_a_token_for_tests_reaches_no_channel(store: Store) -> None:
    app = await store.app()
    channel_id = await channel(store, app)
    token = await store.push_token(app.publisher, app.app_id, test_only=True)
    path = f"/v1.0/channels/{channel_id}/send/"
    assert (await store.call("POST", path, token, {"payload": UPDATE}))[0] == 403


async def test_somebody_elses_app_has_no_channels_for_me(store: Store) -> None:
    app, other = await store.app(), await store.app()
    channel_id = await channel(store, app)
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
