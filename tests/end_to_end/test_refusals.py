"""Refusals of `/v1.0/send/`: always a problem that names the field, and nothing is stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay.node.main import Relay

from .store import ALERT, Store


async def stored(relay: Relay) -> int:
    async with relay.database.connection() as connection:
        return int(
            await connection.fetchval("SELECT (SELECT count(*) FROM push) + (SELECT count(*) FROM batch)")
        )


async def post(store: Store, token: str | None, body: bytes, **headers: str) -> tuple[int, Any, Any]:
    sent = {"Content-Type": "application/json", **headers}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    async with store.http.post("/v1.0/send/", data=body, headers=sent) as response:
        return response.status, await response.json(content_type=None), response.headers


async def test_the_php_senders_request_byte_for_byte_with_and_without_slash(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    body = (
        f'{{"app_id":"{app.app_id}","payload":{{"aps":{{"alert":{{"title":"test","subtitle":"test notification",'
        f'"body":"\\u2026"}}}}}},"destinations":{{"{copy.customer}":["{copy.device}"]}}}}'
    )
    for path in ("/v1.0/send/", "/v1.0/send"):
        headers = {"Authorization": f"Bearer {app.push_token}", "Content-Type": "application/json"}
        async with store.http.post(path, data=body.encode(), headers=headers) as response:
            answer = await response.json()
        assert response.status == 202
        assert set(answer) == {"success", "push_id", "targets", "skipped", "warnings", "errors"}
        assert (answer["success"], answer["warnings"], answer["errors"]) == (True, [], [])
        await store.done(app, answer["push_id"])
    assert await store.received(copy) == [2]


async def test_invalid_input_is_refused_with_pointers_and_stores_nothing(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    c, d = copy.customer, copy.device
    good = {"app_id": app.app_id, "payload": ALERT, "destinations": {c: []}}
    at_limit = {"aps": {}, "x": "a" * (4096 - len('{"aps":{},"x":""}'))}
    too_large = {"aps": {}, "x": at_limit["x"] + "a"}
    forged = c[:-1] + ("A" if c[-1] != "A" else "B")
    cases: list[tuple[Any, int, str]] = [
        ({**good, "destinations": []}, 422, "/destinations"),
        ({**good, "destinations": {}}, 422, "/destinations"),
        ({**good, "destinations": {c: {}}}, 422, f"/destinations/{c}"),
        ({**good, "destinations": {c: [1]}}, 422, f"/destinations/{c}"),
        ({**good, "destinations": {c: None}}, 422, f"/destinations/{c}"),
        ({**good, "destinations": {"": []}}, 422, "/destinations/"),
        ({**good, "destinations": {d: []}}, 422, f"/destinations/{d}"),
        ({**good, "destinations": {forged: []}}, 422, f"/destinations/{forged}"),
        ({**good, "destinations": {c: [d, forged]}}, 422, f"/destinations/{c}/1"),
        ({**good, "destinations": {c: [c]}}, 422, f"/destinations/{c}/0"),
        ({**good, "destinations": {f"c_{n}": [] for n in range(50_001)}}, 422, "/destinations"),
        ({**good, "destinations": {c: [d] * 50_001}}, 422, "/destinations"),
        ({**good, "payload": []}, 422, "/payload"),
        ({**good, "payload": {}}, 422, "/payload"),
        ({**good, "payload": "x"}, 422, "/payload"),
        ({**good, "payload": {"aps": {"badge": "1"}}}, 422, "/payload/aps/badge"),
        ({**good, "payload": too_large}, 422, "/payload"),
        ({**good, "colour": 1}, 422, "/colour"),
        ({"payload": ALERT, "destinations": {c: []}}, 422, "/app_id"),
        ({"app_id": app.app_id, "destinations": {c: []}}, 422, "/payload"),
        ({"app_id": app.app_id, "payload": ALERT}, 422, "/destinations"),
        ({**good, "app_id": 5}, 422, "/app_id"),
        ({**good, "app_id": "other"}, 403, "/app_id"),
        ({**good, "push_type": "loud"}, 422, "/push_type"),
        ({**good, "priority": 7}, 422, "/priority"),
        ({**good, "priority": "10"}, 422, "/priority"),
        ({**good, "push_type": "background", "priority": 10}, 422, "/priority"),
        ({**good, "expiration": -1}, 422, "/expiration"),
        ({**good, "expiration": 1_000_000}, 422, "/expiration"),
        ({**good, "expiration": 10**30}, 422, "/expiration"),
        ({**good, "ttl": -1}, 422, "/ttl"),
        ({**good, "ttl": 5, "expiration": 4_000_000_000}, 422, "/ttl"),
        ({**good, "collapse_id": "x" * 65}, 422, "/collapse_id"),
        ({**good, "collapse_id": "é" * 33}, 422, "/collapse_id"),
        ({**good, "collapse_id": ""}, 422, "/collapse_id"),
        ({**good, "collapse_id": "a\r\nb"}, 422, "/collapse_id"),
        ({**good, "debug": "yes"}, 422, "/debug"),
        ([], 422, ""),
        ("text", 422, ""),
        (None, 422, ""),
    ]
    before = await stored(relay)
    for body, status, pointer in cases:
        got, problem, headers = await post(store, app.push_token, json.dumps(body).encode())
        assert (got, problem["errors"][0]["pointer"]) == (status, pointer), problem
        assert headers["Content-Type"].startswith("application/problem+json")
        assert problem["success"] is False
        assert problem["status"] == status
        assert all(set(error) == {"code", "pointer", "detail"} for error in problem["errors"])
    assert await stored(relay) == before
    status, answer = await store.send(app, {c: []}, at_limit)
    assert status == 202, answer


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"app_id":"x","app_id":"y"}', 400),
        (b'{"payload":{"aps":{"badge":1,"badge":2}}}', 400),
        (b'{"payload":{"aps":{"relevance-score":NaN}}}', 400),
        (b'{"payload":"\xff\xfe"}', 400),
        (b"[" * 100_000, 400),
        (b'{"payload":"' + b"x" * (5 * 1024 * 1024) + b'"}', 413),
    ],
)
async def test_a_body_that_is_no_json_is_refused(
    store: Store, relay: Relay, body: bytes, status: int
) -> None:
    app = await store.app()
    got, problem, headers = await post(store, app.push_token, body)
    assert got == status, problem
    assert headers["Content-Type"].startswith("application/problem+json")
    assert problem["errors"][0]["detail"]
    assert await stored(relay) == 0


async def test_a_body_that_is_not_declared_json_is_refused(store: Store) -> None:
    app = await store.app()
    for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
        got, _, _ = await post(store, app.push_token, b"{}", **headers)
        assert got in (400, 415)


async def test_all_invalid_destinations_are_named_at_once(store: Store) -> None:
    app = await store.app()
    _, problem = await store.send(app, {f"c_{n}": [] for n in range(5)}, {"aps": {"badge": "1"}})
    assert len(problem["errors"]) == 6
    _, problem = await store.send(
        app, {"c_0": []}, {"aps": {"badge": "1"}}, priority=7, ttl=-1, collapse_id="", push_type="loud"
    )
    assert {error["pointer"] for error in problem["errors"]} == {
        "/push_type",
        "/priority",
        "/ttl",
        "/collapse_id",
        "/payload/aps/badge",
        "/destinations/c_0",
    }
    # What only some push types need is not asked for where the push type is not known.
    _, problem = await store.send(app, {"c_0": []}, {"mine": 1}, push_type="loud")
    assert [error["pointer"] for error in problem["errors"]] == ["/push_type", "/destinations/c_0"]


async def test_only_a_valid_push_token_of_the_app_may_send(store: Store, relay: Relay) -> None:
    app, other = await store.app(), await store.app()
    copy = await store.copy(app, "anna", "a1")
    body = json.dumps({"app_id": app.app_id, "payload": ALERT, "destinations": {copy.customer: []}}).encode()

    async def attempt(token: str | None) -> int:
        status, problem, headers = await post(store, token, body)
        if status == 401:
            assert headers["WWW-Authenticate"].startswith("Bearer")
        if status >= 400:
            assert headers["Content-Type"].startswith("application/problem+json")
            assert problem["success"] is False
        return status

    one_letter_off = app.push_token[:-1] + ("A" if app.push_token[-1] != "A" else "B")
    refused = {
        "no token": (None, 401),
        "not a token": ("push_nonsense", 401),
        "one letter off": (one_letter_off, 401),
        "a manage token": (app.publisher.manage_token, 403),
        "an operator token": (store.operator_token, 403),
        "an install token": (copy.install_token, 403),
        "a forged install token": (copy.install_token[:-9] + "forgotten", 401),
        "a push token of another app": (other.push_token, 403),
    }
    before = await stored(relay)
    for name, (token, status) in refused.items():
        assert await attempt(token) == status, name
    assert await stored(relay) == before
    assert await attempt(app.push_token) == 202
    assert await stored(relay) > before


async def test_a_revoked_or_expired_token_is_refused_at_once(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    path = f"/v1.0/apps/{app.app_id}/tokens/"
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    short_lived = await store.must(
        "POST", path, app.publisher.manage_token, {"label": "short", "expires_at": soon}
    )
    # Used while it is valid, so that the relay caches it. A busy machine may be too late for that.
    used = (await store.send(app, {copy.customer: []}, token=short_lived["token"]))[0]
    assert used == 202 or datetime.now(UTC) >= datetime.fromisoformat(soon)
    assert (await store.send(app, {copy.customer: []}))[0] == 202
    listed = await store.must("GET", path, app.publisher.manage_token)
    for token in listed["items"]:
        if token["label"] != "short":
            await store.must("DELETE", f"{path}{token['id']}/", app.publisher.manage_token)
    assert (await store.send(app, {copy.customer: []}))[0] == 401
    while datetime.now(UTC) < datetime.fromisoformat(soon):
        await store.call("GET", "/healthz", None)
    assert (await store.send(app, {copy.customer: []}, token=short_lived["token"]))[0] == 401


async def test_50_000_destinations_are_one_push(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    status, answer = await store.send(app, {copy.customer: [copy.device] * 50_000})
    assert (status, answer["targets"]) == (202, 1)
