"""`Prefer: wait=N`: the answer contains the outcome if the push is done in time."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from apns_standin import ApnsStandIn
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.node.roles import Roles
from relay.settings import Settings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from tests.eventually import eventually, nothing_happens_for

from .store import ALERT, App, Copy, Store

UNKNOWN_TEAM = "TEAM000009"


async def post(
    session: aiohttp.ClientSession, app: App, copies: list[Copy], prefer: str, **headers: str
) -> tuple[int, Any, Any]:
    body = {"app_id": app.app_id, "payload": ALERT, "destinations": {copy.customer: [] for copy in copies}}
    sent = {"Authorization": f"Bearer {app.push_token}", "Prefer": prefer, **headers}
    async with session.post("/v1.0/send/", json=body, headers=sent) as response:
        return response.status, await response.json(), response.headers


async def held(store: Store, app: App) -> Copy:
    """Return a copy whose pushes wait, because its team no longer has a credential."""
    copy = await store.copy(app, "held", "f1", team_id=UNKNOWN_TEAM)
    listed = await store.must("GET", "/v1.0/operator/credentials/", store.operator_token)
    [credential] = [item["id"] for item in listed["items"] if item["team_id"] == UNKNOWN_TEAM]
    await store.must("DELETE", f"/v1.0/operator/credentials/{credential}/", store.operator_token)
    return copy


async def test_the_answer_contains_the_outcome(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, name, f"{name}1") for name in ("a", "b")]
    store.apns.answer(copies[1].device_token, 410, "Unregistered", times=1)
    status, answer, headers = await post(store.http, app, copies, "wait=60")
    assert (status, headers["Preference-Applied"]) == (200, "wait=60")
    assert (answer["success"], answer["targets"], answer["errors"]) == (True, 2, [])
    assert answer["push"] == await store.page(app, answer["push_id"])
    assert answer["push"]["state"] == "done"
    assert answer["push"]["counts"]["delivered"] == answer["push"]["counts"]["unregistered"] == 1


async def test_a_push_that_is_not_done_in_time_is_a_202(store: Store) -> None:
    app = await store.app()
    copy = await held(store, app)
    started = time.monotonic()
    status, answer, headers = await post(store.http, app, [copy], "respond-async, wait=1")
    assert time.monotonic() - started >= 1
    assert (status, headers["Preference-Applied"]) == (202, "wait=1")
    assert set(answer) == {"success", "push_id", "targets", "skipped", "warnings", "errors"}
    assert (await store.page(app, answer["push_id"]))["state"] == "queued"


async def test_other_preferences_do_not_wait(store: Store) -> None:
    app = await store.app()
    copy = await held(store, app)
    for prefer in ("respond-async", "wait=soon", "wait=0"):
        status, _, headers = await post(store.http, app, [copy], prefer)
        assert status == 202
        assert ("Preference-Applied" in headers) is (prefer == "wait=0")


async def test_a_push_without_targets_is_done_at_once(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1", register=False)
    status, answer, _ = await post(store.http, app, [copy], "wait=60")
    assert (status, answer["targets"], answer["push"]["state"]) == (200, 0, "done")


async def test_a_repeated_request_waits_for_the_first_push(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna", "a1")]
    first, second = await asyncio.gather(
        *(post(store.http, app, copies, "wait=60", **{"Idempotency-Key": "k"}) for _ in range(2))
    )
    assert first[0] == second[0] == 200
    assert first[1] == second[1]
    again = await post(store.http, app, copies, "wait=60", **{"Idempotency-Key": "k"})
    assert again[:2] == first[:2]
    assert await store.received(*copies) == [1]


async def test_a_node_waits_for_pushes_that_others_send(
    settings: Settings, apns: ApnsStandIn, database: Database
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    async with AsyncExitStack() as stack:
        door = await Relay.start(settings, stack, roles=Roles(dispatch=False))
        await Relay.start(settings, stack, roles=Roles(api=False))
        session = await stack.enter_async_context(aiohttp.ClientSession(door.url))
        store = Store(session, apns, token)
        app = await store.app()
        copies = [await store.copy(app, f"c{n}", f"a{n}") for n in range(3)]
        answers = await asyncio.gather(*(post(session, app, [copy], "wait=60") for copy in copies))
        assert [status for status, _, _ in answers] == [200] * 3
        assert all(answer["push"]["counts"]["delivered"] == 1 for _, answer, _ in answers)


async def test_waiting_requests_are_answered_at_shutdown(
    settings: Settings, apns: ApnsStandIn, database: Database
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    async with AsyncExitStack() as stack:
        nodes = AsyncExitStack()
        relay = await Relay.start(settings, nodes)
        session = await stack.enter_async_context(aiohttp.ClientSession(relay.url))
        store = Store(session, apns, token)
        app = await store.app()
        copy = await held(store, app)
        waiting = asyncio.create_task(post(session, app, [copy], "wait=60"))
        async with database.connection() as connection:
            await eventually(lambda: connection.fetchval("SELECT count(*) FROM push"))
        await nothing_happens_for(0.2)  # until the request waits
        started = time.monotonic()
        await nodes.aclose()
        status, answer, _ = await waiting
        assert time.monotonic() - started < 60  # the seconds of `Prefer: wait`
        assert (status, answer["success"]) == (202, True), json.dumps(answer)
