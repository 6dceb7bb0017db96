"""The log of a push, from its request to Apple's answer: its lines are connected by ids alone."""

from __future__ import annotations

import msgspec
import pytest

from relay.settings import HttpSettings, Settings

from .log import Log
from .store import ALERT, App, Copy, Store


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(
        settings, http=HttpSettings(port=0, trusted_proxies=("127.0.0.0/8", "::1"))
    )


async def post(store: Store, app: App, copies: list[Copy], request_id: str) -> tuple[str, str]:
    """Send a push and return its id and the request id of the answer."""
    body = {"app_id": app.app_id, "payload": ALERT, "destinations": {copy.customer: [] for copy in copies}}
    headers = {"Authorization": f"Bearer {app.push_token}", "X-Request-Id": request_id}
    async with store.http.post("/v1.0/send/", json=body, headers=headers) as response:
        assert response.status == 202
        return (await response.json())["push_id"], response.headers["X-Request-Id"]


async def test_a_push_is_logged_from_the_request_to_apple(store: Store, log: Log) -> None:
    app = await store.app()
    good, bad = await store.copy(app, "anna", "a1"), await store.copy(app, "bert", "b1")
    store.apns.answer(bad.device_token, 410, "Unregistered")
    push_id, request_id = await post(store, app, [good, bad], "order-4711.a")
    assert request_id == "order-4711.a"
    await store.done(app, push_id)

    [of_request] = [line for line in log.grep(request_id) if line["event"] == "a push is accepted"]
    assert of_request["request_id"] == request_id
    lines = await log.until(of_request["push_id"], "a batch is settled")
    assert of_request["push_id"] == push_id
    [stored] = [line for line in lines if line["event"] == "a push is stored"]
    [received] = await store.apns.notifications(good.device_token)
    assert received["apns_id"] in stored["apns_ids"]
    sent = [line for line in lines if line["event"] == "a batch is sent"]
    assert received["apns_id"] in sent[0]["apns_ids"]
    failures = [
        failure for line in lines if line["event"] == "a batch is answered" for failure in line["failures"]
    ]
    [refused] = [apns_id for apns_id in stored["apns_ids"] if apns_id != received["apns_id"]]
    assert failures == [{"apns_id": refused, "status": 410, "reason": "Unregistered"}]
    # Work for several pushes belongs to no request.
    assert all("request_id" not in line for line in lines if line["event"] != "a push is accepted")


async def test_a_request_has_one_line(store: Store, log: Log) -> None:
    app = await store.app()
    log.lines.clear()
    headers = {
        "Authorization": f"Bearer {app.push_token}",
        "X-Request-Id": "of-one-line",
        "X-Forwarded-For": "192.0.2.66, 192.0.2.7",
    }
    async with store.http.get("/v1.0/pushes/secret-in-a-path/", headers=headers) as response:
        assert response.status in (400, 404)
        assert (await response.json())["request_id"] == "of-one-line"
    [line] = log.grep("of-one-line")
    assert (line["level"], line["event"], line["status"]) == ("info", "request", response.status)
    assert (line["method"], line["route"]) == ("GET", "/v1.0/pushes/{push_id}/")
    assert line["client"] == "192.0.2.7"
    assert line["ms"] >= 0
    tokens = await store.must("GET", f"/v1.0/apps/{app.app_id}/tokens/", app.publisher.manage_token)
    assert line["token_id"] == tokens["items"][0]["id"]
    assert log.grep("secret-in-a-path") == []


async def test_successful_requests_are_logged_at_debug_level(store: Store, log: Log) -> None:
    app = await store.app()
    await store.push(app, {(await store.copy(app, "anna", "a1")).customer: []})
    assert {line["level"] for line in log.grep('"event": "request"')} <= {"debug"}


@pytest.mark.parametrize("given", ["", "x" * 65, "with space", "push_underscore", "a\tb"])
async def test_an_invalid_request_id_is_replaced(store: Store, given: str) -> None:
    async with store.http.get("/healthz", headers={"X-Request-Id": given}) as response:
        assert len(response.headers["X-Request-Id"]) == 16


async def test_a_request_without_a_route_has_a_request_id(store: Store, log: Log) -> None:
    async with store.http.get("/nowhere/secret-in-a-path", headers={"X-Request-Id": "lost"}) as response:
        assert response.status == 404
        assert (await response.json())["request_id"] == response.headers["X-Request-Id"] == "lost"
    assert [line["route"] for line in log.grep("lost")] == [None]
