"""Test devices: debug pushes, test-only tokens, traces, and failure domains."""

from __future__ import annotations

from typing import Any

import pytest

from .store import Copy, Store


async def list_device(store: Store, copy: Copy, udid: str, domain: str = "ok") -> None:
    body = {"udid": udid.ljust(40, "0"), "label": "my phone", "failure_domain": domain}
    await store.must("POST", "/v1.0/test-devices/", copy.app.publisher.manage_token, body)


async def trace(store: Store, copy: Copy, page: dict[str, Any]) -> list[Any]:
    answer = await store.must("GET", f"/v1.0/pushes/{page['push_id']}/trace/", copy.app.push_token)
    items: list[Any] = answer["items"]
    return items


async def test_debug_reaches_listed_devices_only_and_counts_the_others(store: Store) -> None:
    app = await store.app()
    mine, theirs = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    await list_device(store, mine, "a1")
    page = await store.push(app, {mine.customer: []}, debug=True)
    assert (page["targets"], page["counts"]["skipped"], page["debug"]) == (1, 1, True)
    assert await store.received(mine, theirs) == [1, 0]


async def test_a_test_only_token_reaches_listed_devices_only(store: Store) -> None:
    app = await store.app()
    mine, theirs = await store.copy(app, "anna", "a1"), await store.copy(app, "bert", "b1")
    await list_device(store, mine, "a1")
    token = await store.push_token(app.publisher, app.app_id, test_only=True)
    _, answer = await store.send(app, {mine.customer: [], theirs.customer: []}, token=token, debug=False)
    assert (answer["targets"], answer["skipped"]) == (1, 1)
    await store.done(app, answer["push_id"])
    assert await store.received(mine, theirs) == [1, 0]


async def test_another_publishers_list_does_not_count(store: Store) -> None:
    app, other = await store.app(), await store.app()
    copy = await store.copy(app, "anna", "a1")
    await list_device(store, await store.copy(other, "anna", "a1"), "a1", "unregistered")
    assert (await store.push(app, {copy.customer: []}, debug=True))["targets"] == 0
    assert (await store.push(app, {copy.customer: []}))["counts"]["delivered"] == 1


async def test_the_trace_contains_listed_devices_only(store: Store) -> None:
    app = await store.app()
    mine = await store.copy(app, "anna", "a1", environment="sandbox")
    theirs = await store.copy(app, "anna", "a2")
    await list_device(store, mine, "a1")
    store.apns.answer(mine.device_token, 503, "ServiceUnavailable", times=1)
    page = await store.push(app, {mine.customer: []}, {"aps": {"alert": "x"}, "mine": 1}, collapse_id="k")
    first, second = await trace(store, mine, page)
    assert [first["attempt"], second["attempt"]] == [0, 1]
    assert first["answer"]["reason"] == "ServiceUnavailable"
    assert second["answer"]["status"] == 200
    assert {name: second[name] for name in ("route", "label", "environment", "payload")} == {
        "route": {"customer": mine.customer, "device": mine.device, "alongside": ""},
        "label": "my phone",
        "environment": "sandbox",
        "payload": {"aps": {"alert": "x"}, "mine": 1},
    }
    assert second["headers"]["apns-collapse-id"] == "k"
    [received] = await store.apns.notifications(mine.device_token)
    for name in ("apns-id", "apns-topic", "apns-push-type", "apns-priority"):
        assert second["headers"][name] == received["headers"][name]
    assert first["headers"]["apns-id"] == second["headers"]["apns-id"]
    assert second["answer"]["apns_unique_id"]
    assert second["accepted_at"] <= second["sent_at"] <= second["answered_at"]
    text = str([first, second])
    for secret in (mine.device_token, theirs.device):
        assert secret not in text


@pytest.mark.parametrize(
    ("domain", "outcome", "reason"),
    [
        ("unregistered", "unregistered", "Unregistered"),
        ("bad_device_token", "failed", "BadDeviceToken"),
        ("throttled", "expired", "TooManyRequests"),
        ("unavailable", "expired", "ServiceUnavailable"),
    ],
)
async def test_a_failure_domain_acts_on_the_listed_device_without_asking_apple(
    store: Store, domain: str, outcome: str, reason: str
) -> None:
    app = await store.app()
    mine, theirs = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    await list_device(store, mine, "a1", domain)
    page = await store.push(app, {mine.customer: []}, ttl=6)
    assert page["counts"]["delivered"] == 1
    assert page["counts"][outcome] == 1
    assert page["reasons"] == {reason: 1}
    assert await store.received(mine, theirs) == [0, 1]
    items = await trace(store, mine, page)
    assert all(item["simulated"] for item in items)
    assert items[0]["answer"]["reason"] == reason
    assert (await store.send(app, {mine.customer: [mine.device]}))[1]["targets"] == 1, "its token lives"


async def test_a_slow_device_delays_its_delivery(store: Store) -> None:
    app = await store.app()
    mine, theirs = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    await list_device(store, mine, "a1", "slow")
    _, answer = await store.send(app, {mine.customer: []}, ttl=6)
    page = await store.until(app, answer["push_id"], lambda page: page["counts"]["delivered"] == 1)
    assert page["counts"]["pending"] == 1
    page = await store.done(app, answer["push_id"])
    assert page["counts"]["expired"] == 1
    assert await store.received(mine, theirs) == [0, 1]


async def test_a_device_off_the_list_has_no_failure_domain(store: Store) -> None:
    app = await store.app()
    mine = await store.copy(app, "anna", "a1")
    await list_device(store, mine, "a1", "unregistered")
    listed = await store.must("GET", "/v1.0/test-devices/", app.publisher.manage_token)
    assert "a1" not in str(listed["items"][0].values())
    await store.must("DELETE", f"/v1.0/test-devices/{listed['items'][0]['id']}/", app.publisher.manage_token)
    page = await store.push(app, {mine.customer: []})
    assert page["counts"]["delivered"] == 1
    assert await trace(store, mine, page) == []
