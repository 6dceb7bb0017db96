"""Idempotency-Key: a repeated request is one push with one answer, at any node."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from apns_standin import ApnsStandIn
from relay.core.idempotency import KEY_KEPT_FOR
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.node.roles import Roles
from relay.settings import LimitsSettings, Settings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from relay.store.push.idempotency_keys import IdempotencyKeyRepository
from tests.eventually import eventually

from .store import ALERT, App, Copy, Store


def body_of(copy: Copy, **fields: Any) -> bytes:
    body = {"app_id": copy.app.app_id, "payload": ALERT, "destinations": {copy.customer: []}, **fields}
    return json.dumps(body).encode()


async def post(
    session: aiohttp.ClientSession, app: App, body: bytes, key: str | None, token: str | None = None
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token or app.push_token}", "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    async with session.post("/v1.0/send/", data=body, headers=headers) as response:
        return response.status, await response.read()


def push_id(answer: tuple[int, bytes]) -> str:
    status, body = answer
    assert status == 202, body
    return str(json.loads(body)["push_id"])


async def stored(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM push"))


async def test_a_repeated_request_is_one_push_with_one_answer(store: Store) -> None:
    app = await store.app()
    copy, silent = await store.copy(app, "anna", "a1"), await store.copy(app, "bert", "b1", register=False)
    body = body_of(copy, destinations={copy.customer: [], silent.customer: []})
    first = await post(store.http, app, body, '"k-1"')
    await store.done(app, push_id(first))
    # The stored answer stays unchanged when its copy no longer exists.
    await store.must("DELETE", f"/v1.0/operator/installations/{copy.uuid}/", store.operator_token)
    assert await post(store.http, app, body, "k-1") == first
    assert json.loads(first[1])["targets"] == 1
    assert [warning["code"] for warning in json.loads(first[1])["warnings"]] == ["unreachable"]
    assert await store.received(copy) == [1]


async def test_requests_without_a_key_or_with_other_keys_are_separate_pushes(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    second_token = await store.push_token(app.publisher, app.app_id)
    answers = [
        await post(store.http, app, body_of(copy), None),
        await post(store.http, app, body_of(copy), None),
        await post(store.http, app, body_of(copy), "a"),
        await post(store.http, app, body_of(copy), "A"),
        await post(store.http, app, body_of(copy), "a", second_token),
    ]
    push_ids = {push_id(answer) for answer in answers}
    assert len(push_ids) == len(answers)
    for stored_id in push_ids:
        await store.done(app, stored_id)
    assert await store.received(copy) == [len(answers)]


async def test_another_body_with_the_same_key_is_refused(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    first = await post(store.http, app, body_of(copy), "k")
    for other in (body_of(copy, priority=5), body_of(copy) + b" "):
        status, answer = await post(store.http, app, other, "k")
        problem = json.loads(answer)
        assert (status, problem["errors"][0]["code"]) == (422, "idempotency_key_reused")
    await store.done(app, push_id(first))
    assert await store.received(copy) == [1]


async def test_an_error_leaves_the_key_free(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    for wrong in (
        b"{",
        body_of(copy, priority=7),
        body_of(copy, app_id="other"),
        body_of(copy, destinations={}),
    ):
        status, _ = await post(store.http, app, wrong, "k")
        assert 400 <= status < 500
    push_id(await post(store.http, app, body_of(copy), "k"))
    assert await stored(relay.database) == 1


async def test_an_invalid_key_is_refused(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    for key in ("", '"', "two words", "x" * 256):
        status, answer = await post(store.http, app, body_of(copy), key)
        assert status == 400
        assert "Idempotency-Key" in json.loads(answer)["detail"]
    assert await stored(relay.database) == 0


async def test_a_repeated_request_is_answered_after_its_expiration(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    for seconds in (2, 4, 8, 16, 32):
        soon = int(datetime.now(UTC).timestamp()) + seconds
        first = await post(store.http, app, body_of(copy, expiration=soon), f"k{seconds}")
        if first[0] == 202:  # else the request took too long
            break
    await eventually(lambda: datetime.now(UTC).timestamp() > soon)
    assert (await post(store.http, app, body_of(copy, expiration=soon), "other"))[0] == 422
    assert await post(store.http, app, body_of(copy, expiration=soon), f"k{seconds}") == first


async def test_a_repeated_broadcast_is_one_push(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, f"c{n}", f"a{n}") for n in range(3)]
    body = body_of(copies[0], destinations="all")
    first = await post(store.http, app, body, "k")
    assert await post(store.http, app, body, "k") == first
    await store.done(app, push_id(first))
    assert await store.received(*copies) == [1, 1, 1]


async def test_concurrent_repeats_get_one_answer_at_any_node(
    settings: Settings, apns: ApnsStandIn, database: Database
) -> None:
    """Many concurrent requests to two nodes with ten new keys, without a key, and with a key that is in use."""
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    async with AsyncExitStack() as stack:
        nodes = [await Relay.start(settings, stack) for _ in range(2)]
        sessions = [await stack.enter_async_context(aiohttp.ClientSession(node.url)) for node in nodes]
        store = Store(sessions[0], apns, token)
        app = await store.app()
        copy = await store.copy(app, "anna", "a1")
        keys = [str(uuid4()) for _ in range(10)]
        taken = push_id(await post(sessions[0], app, body_of(copy), "taken"))
        requests = [
            post(session, app, body_of(copy), key)
            for _ in range(5)
            for key in (*keys, None, "taken", *reversed(keys))
            for session in sessions
        ]
        clashing = [post(session, app, body_of(copy, priority=5), "taken") for session in sessions]
        answers = await asyncio.gather(*requests, *clashing)
        refused = answers[len(requests) :]
        assert [status for status, _ in refused] == [422, 422]
        by_key: dict[str | None, list[tuple[int, bytes]]] = {}
        order = [key for _ in range(5) for key in (*keys, None, "taken", *reversed(keys)) for _ in sessions]
        for key, answer in zip(order, answers, strict=False):
            by_key.setdefault(key, []).append(answer)
        alone = by_key.pop(None)
        assert len({push_id(answer) for answer in alone}) == len(alone) == 10
        for answered in by_key.values():
            assert len(set(answered)) == 1, "all answers of a key are equal, byte for byte"
        assert push_id(by_key["taken"][0]) == taken
        pushes = {push_id(answered[0]) for answered in by_key.values()} | {
            push_id(answer) for answer in alone
        }
        assert len(pushes) == 10 + 1 + 10 == await stored(database)
        for stored_id in pushes:
            await store.done(app, stored_id)
        assert await store.received(copy) == [len(pushes)]


async def test_keys_are_kept_for_a_day(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    first = await post(store.http, app, body_of(copy), "old")
    async with relay.database.connection() as connection:
        await connection.execute(
            "UPDATE idempotency_key SET created_at = created_at - interval '23 hours 59 minutes'"
        )
    kept = IdempotencyKeyRepository(relay.database)
    second = await post(store.http, app, body_of(copy), "new")
    await kept.drop_keys_before(datetime.now(UTC) - KEY_KEPT_FOR, piece_size=1)
    assert await post(store.http, app, body_of(copy), "old") == first
    await kept.drop_keys_before(datetime.now(UTC) - KEY_KEPT_FOR + timedelta(minutes=2), piece_size=1)
    assert await post(store.http, app, body_of(copy), "new") == second
    assert push_id(await post(store.http, app, body_of(copy), "old")) != push_id(first)


@pytest.mark.parametrize(("limits", "roles"), [(LimitsSettings(queued_batches=1), Roles(dispatch=False))])
async def test_a_repeated_request_is_answered_when_the_queue_is_full(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    first = await post(store.http, app, body_of(copy), "k")
    assert push_id(first)

    async def refused() -> bool:
        return (await post(store.http, app, body_of(copy), None))[0] != 202

    await eventually(refused)
    assert await post(store.http, app, body_of(copy), "k") == first
