"""Pushes to broadcast channels, from the publisher's request to the notifications of Apple's channels."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from apns_standin import ListenerFault
from relay.node.main import Relay
from relay.settings import DispatchSettings
from tests.eventually import eventually

from .channels import (
    DOWN,
    END,
    NOW,
    UPDATE,
    ask_for_channel,
    create_channel,
    page_in_state,
    push_to_channel,
    send_to_channel,
    services,
)
from .log import Log
from .store import Store


async def test_a_push_reaches_apples_channel_of_every_copy(store: Store, relay: Relay) -> None:
    app = await store.app()
    phone = await store.copy(app, "anna", "a1")
    tablet = await store.copy(app, "bert", "b1", environment="sandbox", team_id="TEAM000002")
    channel_id = await create_channel(store, app)
    assert store.apns.channels() == [], "Apple's channels are created on demand"
    async with services(relay, phone) as sdk:
        mine = await sdk.get_broadcast_channel(UUID(channel_id))
        assert await sdk.get_broadcast_channel(UUID(channel_id)) == mine
        bundle_id = await sdk.get_apple_bundle_identifier()
    other = await ask_for_channel(store, tablet, channel_id)
    by_id = {item["channel_id"]: item for item in store.apns.channels()}
    assert by_id.keys() == {mine, other}
    assert (by_id[mine]["bundle_id"], by_id[mine]["message_storage"]) == (bundle_id, True)
    assert (by_id[mine]["environment"], by_id[other]["environment"]) == ("production", "sandbox")

    page = await push_to_channel(store, app, channel_id, priority=5, ttl=3600)
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


async def test_a_push_to_a_channel_without_storage_has_no_expiration(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    channel_id = await create_channel(store, app, message_storage=False)
    mine = await ask_for_channel(store, copy, channel_id)
    page = await push_to_channel(store, app, channel_id, payload=END)
    assert (page["counts"]["delivered"], page["expiration"]) == (1, 0)
    assert (await store.apns.channel_notifications(mine))[0]["headers"]["apns-expiration"] == "0"
    for fields, pointer in (({"ttl": 5}, "/ttl"), ({"expiration": NOW + 3600}, "/expiration")):
        path, body = f"/v1.0/channels/{channel_id}/send/", {"payload": UPDATE, **fields}
        status, answer = await store.call("POST", path, app.push_token, body)
        assert (status, [error["pointer"] for error in answer["errors"]]) == (422, [pointer])


async def test_a_push_to_a_channel_without_copies_is_done_at_once(store: Store) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    sent = await send_to_channel(store, app, channel_id)
    assert (sent["targets"], [warning["code"] for warning in sent["warnings"]]) == (0, ["unreachable"])
    page = await page_in_state(store, app, channel_id, sent["push_id"], "done")
    assert page["counts"] == {"delivered": 0, "failed": 0, "expired": 0, "pending": 0}


# A retry is due long after the test: nothing is under way when the channel is deleted.
@pytest.mark.parametrize("dispatch", [DispatchSettings(retry_first=300, poll=0.1)])
async def test_an_unsent_push_to_a_deleted_channel_is_dropped(store: Store, relay: Relay) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    mine = await ask_for_channel(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.management["production"].set_fault(DOWN)
    await store.apns.set_fault(DOWN)
    await send_to_channel(store, app, channel_id)
    waiting = "SELECT count(*) FROM channel_delivery WHERE attempt > 0 AND lease_owner IS NULL"
    async with relay.database.connection() as connection:
        await eventually(lambda: connection.fetchval(waiting))
        await store.must("DELETE", f"/v1.0/channels/{channel_id}/", app.push_token)
        assert not await connection.fetchval("SELECT count(*) FROM channel_delivery")
    await store.apns.clear_faults()
    assert await store.apns.channel_notifications(mine) == []


async def test_a_push_is_retried_after_a_passing_fault(store: Store, log: Log) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    mine = await ask_for_channel(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.set_fault(DOWN)
    sent = await send_to_channel(store, app, channel_id)
    answered = "a push to a channel is answered"
    await eventually(
        lambda: len([line for line in log.grep(sent["push_id"]) if line["event"] == answered]) >= 2
    )
    page = await page_in_state(store, app, channel_id, sent["push_id"], "queued")
    assert page["counts"]["pending"] == 1
    await store.apns.clear_faults()
    assert (await page_in_state(store, app, channel_id, sent["push_id"], "done"))["counts"]["delivered"] == 1
    assert len(await store.apns.channel_notifications(mine)) == 1
    attempts = [line for line in log.grep(sent["push_id"]) if line["event"] == answered]
    assert (attempts[0]["attempt"], attempts[0]["status"]) == (0, 503)
    assert attempts[-1]["status"] == 200


@pytest.mark.parametrize("kind", ["tcp_reset", "refused_stream", "internal_error", "html", "goaway"])
async def test_a_push_is_delivered_after_connection_faults(store: Store, relay: Relay, kind: Any) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    mine = await ask_for_channel(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.set_fault(ListenerFault(kind, received=0))
    sent = await send_to_channel(store, app, channel_id)
    async with relay.database.connection() as connection:
        await eventually(lambda: connection.fetchval("SELECT max(attempt) > 1 FROM channel_delivery"))
    await store.apns.clear_faults()
    assert (await page_in_state(store, app, channel_id, sent["push_id"], "done"))["counts"]["delivered"] == 1
    assert await store.apns.channel_notifications(mine)


@pytest.mark.parametrize(
    "dispatch", [DispatchSettings(retry_first=0.2, retry_longest=0.5, poll=0.1, immediate_window=1.0)]
)
async def test_a_push_with_expiration_zero_is_not_retried_later(store: Store) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    await ask_for_channel(store, await store.copy(app, "anna", "a1"), channel_id)
    await store.apns.set_fault(DOWN)
    page = await push_to_channel(store, app, channel_id, ttl=0)
    assert page["counts"]["expired"] == 1
    # The answer of the last attempt, or that there was time for none.
    assert page["reasons"] in ({"ServiceUnavailable": 1}, {"Expired": 1})


async def test_a_channel_that_apple_lost_is_created_again(store: Store) -> None:
    app = await store.app()
    copy, channel_id = await store.copy(app, "anna", "a1"), await create_channel(store, app)
    lost = await ask_for_channel(store, copy, channel_id)
    store.apns.delete_channel(lost)
    page = await push_to_channel(store, app, channel_id)
    assert (page["counts"]["failed"], page["reasons"]) == (1, {"ChannelNotRegistered": 1})
    replacement = await ask_for_channel(store, copy, channel_id)
    assert replacement != lost
    assert (await push_to_channel(store, app, channel_id))["counts"]["delivered"] == 1


async def test_a_refused_credential_is_suspended_and_the_push_waits(store: Store) -> None:
    app = await store.app()
    copy, channel_id = await store.copy(app, "anna", "a1"), await create_channel(store, app)
    await ask_for_channel(store, copy, channel_id)
    [known] = (await store.must("GET", "/v1.0/operator/credentials/", store.operator_token))["items"]
    store.apns.revoke_key("TEAM000001", known["key_id"])
    sent = await send_to_channel(store, app, channel_id)

    async def suspended() -> dict[str, Any]:
        [shown] = (await store.must("GET", "/v1.0/operator/credentials/", store.operator_token))["items"]
        assert shown["state"] == "suspended"
        return shown

    assert (await eventually(suspended))["state_reason"] == "InvalidProviderToken"
    status, answer = await store.call(
        "GET", f"/v1.0/installation/channels/{await create_channel(store, app)}/", copy.install_token
    )
    assert (status, answer["code"]) == (503, "unavailable")
    store._teams.clear()
    await store.credential("TEAM000001", "production")
    assert (await page_in_state(store, app, channel_id, sent["push_id"], "done"))["counts"]["delivered"] == 1


async def test_a_certificate_suffices(store: Store) -> None:
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
    channel_id = await create_channel(store, app)
    mine = await ask_for_channel(store, copy, channel_id)
    assert (await push_to_channel(store, app, channel_id))["counts"]["delivered"] == 1
    assert (await store.apns.channel_notifications(mine))[0]["key_id"] is None


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
async def test_an_invalid_push_is_refused_with_a_pointer(
    store: Store, relay: Relay, body: Any, pointer: str
) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    path = f"/v1.0/channels/{channel_id}/send/"
    status, answer = await store.call("POST", path, app.push_token, body)
    assert (status, [error["pointer"] for error in answer["errors"]]) == (422, [pointer])
    async with relay.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM channel_push") == 0


async def test_a_payload_may_be_larger_than_one_to_a_device(store: Store) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    await ask_for_channel(store, await store.copy(app, "anna", "a1"), channel_id)
    page = await push_to_channel(store, app, channel_id, payload={**UPDATE, "x": "a" * 4500})
    assert page["counts"]["delivered"] == 1


async def test_a_test_only_token_may_not_push_to_a_channel(store: Store) -> None:
    app = await store.app()
    channel_id = await create_channel(store, app)
    token = await store.push_token(app.publisher, app.app_id, test_only=True)
    path = f"/v1.0/channels/{channel_id}/send/"
    assert (await store.call("POST", path, token, {"payload": UPDATE}))[0] == 403
