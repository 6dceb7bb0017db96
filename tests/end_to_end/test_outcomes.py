"""Effects of Apple's answers: outcomes, retries, retirements, suspended credentials."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest

from relay.node.main import Relay
from relay.settings import DispatchSettings
from tests.eventually import eventually

from .store import ALERT, Copy, Store


def counts(page: dict[str, Any]) -> dict[str, int]:
    return {outcome: count for outcome, count in page["counts"].items() if count}


async def active(relay: Relay, copy: Copy) -> bool:
    async with relay.database.connection() as connection:
        return bool(
            await connection.fetchval(
                "SELECT retired_at IS NULL FROM device_token WHERE token = $1",
                bytes.fromhex(copy.device_token),
            )
        )


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (400, "BadCollapseId", "failed"),
        (400, "TopicDisallowed", "failed"),
        (413, "PayloadTooLarge", "failed"),
        (403, "Forbidden", "failed"),
        (400, "BadDeviceToken", "failed"),
        (400, "DeviceTokenNotForTopic", "failed"),
        (410, "Unregistered", "unregistered"),
    ],
)
async def test_a_final_answer_becomes_the_outcome(
    store: Store, status: int, reason: str, outcome: str
) -> None:
    app = await store.app()
    good, bad = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    store.apns.answer(bad.device_token, status, reason)
    page = await store.push(app, {good.customer: []})
    assert counts(page) == {"delivered": 1, outcome: 1}
    assert page["reasons"] == {reason: 1}
    assert await store.received(good, bad) == [1, 0]


async def test_a_dead_token_is_retired_and_not_tried_again(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    store.apns.unregister(copy.device_token)
    await store.push(app, {copy.customer: []})
    assert not await active(relay, copy)
    status, answer = await store.send(app, {copy.customer: []})
    assert (status, answer["targets"]) == (202, 0)


async def test_a_late_410_does_not_retire_a_token_registered_since(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    an_hour_ago = int((time.time() - 3600) * 1000)
    store.apns.answer(copy.device_token, 410, "Unregistered", timestamp=an_hour_ago)
    page = await store.push(app, {copy.customer: []})
    assert counts(page) == {"unregistered": 1}
    assert await active(relay, copy)


async def test_a_bad_token_of_unknown_environment_is_kept(store: Store, relay: Relay) -> None:
    app = await store.app()
    known = await store.copy(app, "anna", "a1")
    unknown = await store.copy(app, "anna", "a2", environment=None)
    for copy in (known, unknown):
        store.apns.answer(copy.device_token, 400, "BadDeviceToken")
    await store.push(app, {known.customer: []})
    assert not await active(relay, known)
    assert await active(relay, unknown)


async def test_a_jump_of_bad_tokens_stops_retiring_them(store: Store, relay: Relay) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna", f"{n:02x}") for n in range(25)]
    for copy in copies:
        store.apns.answer(copy.device_token, 400, "BadDeviceToken")
    page = await store.push(app, {copies[0].customer: []})
    assert counts(page) == {"failed": 25}
    assert [await active(relay, copy) for copy in copies] == [True] * 25


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (429, "TooManyRequests"),
        (503, "ServiceUnavailable"),
        (500, "InternalServerError"),
        (503, "Shutdown"),
        (400, "IdleTimeout"),
    ],
)
async def test_a_push_is_retried_after_a_passing_fault(store: Store, status: int, reason: str) -> None:
    app = await store.app()
    copy, sibling = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    store.apns.answer(copy.device_token, status, reason, times=2)
    page = await store.push(app, {copy.customer: []})
    assert counts(page) == {"delivered": 2}
    assert await store.received(copy, sibling) == [1, 1]
    items = (await store.must("GET", f"/v1.0/pushes/{page['push_id']}/deliveries/", app.push_token))["items"]
    assert {item["device"]: item["attempts"] for item in items} == {copy.device: 3, sibling.device: 1}


async def test_an_expired_provider_token_loses_neither_pushes_nor_tokens(store: Store, relay: Relay) -> None:
    """Pushes wait until the JWT can be replaced or, if it is young, until Apple accepts it again."""
    app = await store.app()
    copy, sibling = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    store.apns.answer(copy.device_token, 403, "ExpiredProviderToken", times=1)
    page = await store.push(app, {copy.customer: []})
    assert counts(page) == {"delivered": 2}
    assert await store.received(copy, sibling) == [1, 1]
    assert await active(relay, copy)
    listed = await store.must("GET", "/v1.0/operator/credentials/", store.operator_token)
    assert {row["state"] for row in listed["items"]} == {"active"}


async def test_retries_end_when_the_push_expires(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    store.apns.answer(copy.device_token, 503, "ServiceUnavailable")
    page = await store.push(app, {copy.customer: []}, ttl=6)
    assert counts(page) == {"expired": 1}
    assert page["reasons"] == {"ServiceUnavailable": 1}


@pytest.mark.parametrize("dispatch", [DispatchSettings(retry_first=5.0, immediate_window=1.0, poll=0.1)])
async def test_a_push_with_expiration_zero_is_not_retried_later(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    store.apns.answer(copy.device_token, 503, "ServiceUnavailable", times=1)
    page = await store.push(app, {copy.customer: []}, ttl=0)
    assert counts(page) == {"expired": 1}
    assert await store.received(copy) == [0]


async def test_a_refused_credential_is_suspended_alone_and_its_pushes_wait(
    store: Store, relay: Relay
) -> None:
    app = await store.app()
    fine = await store.copy(app, "anna", "a1")
    broken = await store.copy(app, "anna", "a1", "two", team_id="TEAM000002")
    status, listed = await store.call("GET", "/v1.0/operator/credentials/", store.operator_token)
    [row] = [row for row in listed["items"] if row["team_id"] == "TEAM000002"]
    store.apns.revoke_key("TEAM000002", row["key_id"])
    status, answer = await store.send(app, {fine.customer: []})
    assert status == 202
    page = await store.until(app, answer["push_id"], lambda page: page["counts"]["delivered"] == 1)
    assert (page["state"], counts(page)) == ("sending", {"delivered": 1, "pending": 1})
    assert await store.received(fine, broken) == [1, 0]

    async def suspended_credential() -> dict[str, Any]:
        listed = await store.must("GET", "/v1.0/operator/credentials/", store.operator_token)
        [item] = [item for item in listed["items"] if item["team_id"] == "TEAM000002"]
        assert item["state"] == "suspended"
        return dict(item)

    assert (await eventually(suspended_credential))["state_reason"] == "InvalidProviderToken"
    assert await active(relay, broken), "no token is retired for a credential's fault"
    key = store.apns.issue_key("TEAM000002")
    body = {"team_id": "TEAM000002", "environment": "production", "key_id": key.key_id, "p8": key.p8}
    await store.must("POST", "/v1.0/operator/credentials/", store.operator_token, body)
    assert counts(await store.done(app, answer["push_id"])) == {"delivered": 2}
    assert await store.received(fine, broken) == [1, 1]


async def test_a_push_waits_for_a_credential_that_comes_later(store: Store) -> None:
    app = await store.app()
    body = {
        "app_id": app.app_id,
        "customer": "anna",
        "udid": "a" * 40,
        "alongside": "",
        "bundle_id": "com.example.late",
        "team_id": "TEAM000007",
        "environment": "sandbox",
        "app_version": "1",
    }
    path = f"/v1.0/operator/installations/{uuid4()}/"
    install_token = (await store.must("PUT", path, store.operator_token, body))["install_token"]
    token = store.apns.issue_device_token("com.example.late", "TEAM000007", "sandbox").token
    await store.must("PUT", "/v1.0/installation/device-token/", install_token, {"device_token": token})
    customer = (await store.must("GET", "/v1.0/installation/", install_token))["customer_id"]
    _, answer = await store.send(app, {customer: []})
    assert (await store.page(app, answer["push_id"]))["counts"]["pending"] == 1
    await store.credential("TEAM000007", "sandbox")
    assert counts(await store.done(app, answer["push_id"])) == {"delivered": 1}


async def test_deliveries_are_paged_and_contain_no_secret(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna-ref", f"{n:02x}") for n in range(5)]
    store.apns.unregister(copies[0].device_token)
    page = await store.push(app, {copies[0].customer: []})
    path = f"/v1.0/pushes/{page['push_id']}/deliveries/"
    items: list[Any] = []
    cursor = ""
    while cursor is not None:
        answer = await store.must("GET", f"{path}?limit=2{cursor and '&cursor='}{cursor}", app.push_token)
        assert len(answer["items"]) <= 2
        items += answer["items"]
        cursor = answer["next"]
    assert sorted(item["device"] for item in items) == sorted(copy.device for copy in copies)
    assert {item["device"]: item["outcome"] for item in items}[copies[0].device] == "unregistered"
    text = str(items) + str(page)
    for copy in copies:
        assert copy.device_token not in text
        assert copy.uuid not in text
    assert "anna-ref" not in text


async def test_other_publishers_do_not_see_a_push(store: Store) -> None:
    app, other = await store.app(), await store.app()
    copy = await store.copy(app, "anna", "a1")
    page = await store.push(app, {copy.customer: []})
    for path in ("", "deliveries/", "trace/"):
        path = f"/v1.0/pushes/{page['push_id']}/{path}"
        for token in (other.push_token, other.publisher.manage_token):
            assert (await store.call("GET", path, token))[0] == 404
        for token in (app.push_token, app.publisher.manage_token):
            assert (await store.call("GET", path, token))[0] == 200
        assert (await store.call("GET", path, None))[0] == 401
        assert (await store.call("GET", path, store.operator_token))[0] == 403


async def test_a_large_push_is_sent_in_batches_and_counted_exactly(store: Store, relay: Relay) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna", f"{n:03x}") for n in range(30)]
    relay._parts.intake._batch_size = 7
    page = await store.push(app, {copies[0].customer: []}, ALERT)
    assert (page["targets"], counts(page)) == (30, {"delivered": 30})
    assert await store.received(*copies) == [1] * 30
