"""`/v1.0/validate/`: the answer of a send, word for word, without effect."""

from __future__ import annotations

from typing import Any

import pytest

from relay.node.main import Relay
from relay.settings import LimitsSettings

from .store import ALERT, App, Store
from .test_refusals import stored


async def validate(
    store: Store, app: App, destinations: Any, payload: Any = ALERT, token: str | None = None, **fields: Any
) -> tuple[int, Any]:
    body = {"app_id": app.app_id, "payload": payload, "destinations": destinations, **fields}
    body = {key: value for key, value in body.items() if value is not ...}
    answer: tuple[int, Any] = await store.call("POST", "/v1.0/validate/", token or app.push_token, body)
    return answer


def without_request_id(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}


async def test_the_answer_equals_that_of_a_send(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    await store.copy(app, "anna", "a1", "two")
    silent = await store.copy(app, "bert", "b1", register=False)
    destinations = {copy.customer: [], silent.customer: []}
    payload = {"aps": {"alert": "Žluťoučký kůň", "colour": "red"}}
    status, answer = await validate(store, app, destinations, payload)
    assert status == 200
    assert await stored(relay) == 0
    assert answer["payload"] == payload
    assert answer["payload_bytes"] == len('{"aps":{"alert":"Žluťoučký kůň","colour":"red"}}'.encode())
    assert (answer["payload_limit"], answer["push_type"]) == (4096, "alert")
    _, sent = await store.send(app, destinations, payload)
    for name in ("success", "targets", "skipped", "warnings", "errors"):
        assert answer[name] == sent[name], name
    assert answer["targets"] == 2
    assert {warning["code"] for warning in answer["warnings"]} == {"unknown_key", "unreachable"}
    await store.done(app, sent["push_id"])


async def test_the_push_type_decides_the_limit(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    _, answer = await validate(store, app, {copy.customer: []}, {"call": 1}, push_type="voip")
    assert (answer["push_type"], answer["payload_limit"], answer["targets"]) == ("voip", 5120, 0)
    _, answer = await validate(store, app, {copy.customer: []}, {"aps": {"content-available": 1}})
    assert (answer["push_type"], answer["targets"]) == ("background", 1)


async def test_targets_of_a_push_to_all_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    app = await store.app()
    copies = [await store.copy(app, f"c{n}", f"a{n}") for n in range(3)]
    await store.copy(app, "silent", "e1", register=False)
    listed = {"udid": "a1".ljust(40, "0"), "label": "mine"}
    await store.must("POST", "/v1.0/test-devices/", app.publisher.manage_token, listed)
    _, answer = await validate(store, app, "all")
    assert (answer["targets"], answer["skipped"]) == (3, 0)
    _, answer = await validate(store, app, "all", debug=True)
    assert (answer["targets"], answer["skipped"]) == (1, 2)
    monkeypatch.setattr("relay.service.reach.MAX_COUNTED_TARGETS", 2)
    _, answer = await validate(store, app, "all")
    assert (answer["targets"], answer["skipped"]) == (None, None)
    assert await store.received(*copies) == [0, 0, 0]


async def test_refusals_equal_those_of_a_send(store: Store) -> None:
    app, other = await store.app(), await store.app()
    copy = await store.copy(app, "anna", "a1")
    good = {copy.customer: []}
    for arguments in (
        {"destinations": {}},
        {"destinations": {copy.customer: ["d_"]}},
        {"payload": {"aps": {"badge": "1"}}},
        {"payload": {"aps": {"alert": "x" * 5000}}},
        {"priority": 7, "ttl": -1},
        {"colour": 1},
        {"app_id": other.app_id},
        {"token": app.publisher.manage_token},
        {"token": other.push_token},
        {"notification": {"title": "t"}},
    ):
        asked: dict[str, Any] = {"destinations": good, **arguments}
        status, problem = await validate(store, app, **asked)
        assert status >= 400
        sent, refusal = await store.send(app, **asked)
        assert (status, without_request_id(problem)) == (sent, without_request_id(refusal))


async def test_the_payload_of_a_notification_is_shown_as_it_arrives(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    notification = {"title": "Your parcel", "image_url": "i", "open": {"data_class": "Parcels"}}
    payload = {
        "aps": {"alert": {"title": "Your parcel"}, "mutable-content": 1},
        "data": {"media-url": "i"},
        "dataClass": "Parcels",
    }
    status, answer = await validate(store, app, {copy.customer: []}, ..., notification=notification)
    assert (status, answer["payload"], answer["warnings"]) == (200, payload, [])
    body = {"app_id": app.app_id, "notification": notification, "destinations": {copy.customer: []}}
    status, sent = await store.call("POST", "/v1.0/send/", app.push_token, body)
    assert status == 202
    await store.done(app, sent["push_id"])
    [received] = await store.apns.notifications(copy.device_token)
    assert received["payload"] == payload


async def test_an_invalid_notification_is_refused_with_pointers(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    for fields, pointers in (
        ({"notification": {}}, ["/notification/title"]),
        ({"notification": {"title": "t", "badge": "1"}}, ["/notification/badge"]),
        ({"notification": None}, ["/notification"]),
        ({"notification": {"title": "t"}, "payload": ALERT}, ["/notification"]),
        ({}, ["/payload"]),
        (
            {"notification": {"title": "t"}, "push_type": "background", "priority": 7},
            ["/push_type", "/priority"],
        ),
    ):
        body = {"app_id": app.app_id, "destinations": {copy.customer: []}, **fields}
        status, problem = await store.call("POST", "/v1.0/send/", app.push_token, body)
        assert (status, [fault["pointer"] for fault in problem["errors"]]) == (422, pointers)
    assert await stored(relay) == 0


@pytest.mark.parametrize("limits", [LimitsSettings(pushes_per_second=0.001, burst=2)])
async def test_validation_does_not_count_as_a_push_and_has_its_own_limit(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    good = {copy.customer: []}
    assert [(await validate(store, app, good))[0] for _ in range(3)] == [200, 200, 429]
    assert [(await store.send(app, good))[0] for _ in range(3)] == [202, 202, 429]
