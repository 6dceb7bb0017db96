"""The fast path of POST /v1.0/send/: callers cannot tell it from the path through aiohttp."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from random import Random
from typing import Any

import pytest

from relay.api.send_fast_path import MAX_BODY_BYTES
from relay.client import PushSender
from relay.http.authentication import TOKEN_CACHE
from relay.node.main import Relay
from relay.settings import Settings
from tests.eventually import eventually, loop_turns, nothing_happens_for

from .log import Log
from .raw import RawAnswer, connection, read_answer
from .store import ALERT, App, Store

VARYING_FIELDS = ("timestamp", "request_id", "push_id", "ms")
AIOHTTP_PATH = {"Content-Type": "application/json; charset=utf-8"}
"""Headers that mean the usual request, but that the fast path leaves to aiohttp."""


def post(app: App, destinations: Any, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a send request."""
    body = json.dumps({"app_id": app.app_id, "payload": ALERT, "destinations": destinations}).encode()
    lines = {
        "Host": "relay",
        "Authorization": f"Bearer {app.push_token}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /v1.0/send/ HTTP/1.1\r\n{head}\r\n".encode() + body


async def ask(relay: Relay, said: bytes) -> RawAnswer:
    async with connection(relay.url) as (reader, writer):
        writer.write(said)
        return await read_answer(reader)


async def remember(relay: Relay, app: App) -> None:
    """Put the push token into the token cache, where it stays for two seconds."""
    tokens = relay.application[TOKEN_CACHE]
    tokens.clear()
    await tokens.authenticate_token(app.push_token)


async def test_both_paths_give_equal_answers(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    for destinations, headers in (
        ({copy.customer: []}, {}),
        ({copy.customer: [copy.device]}, {"X-Request-Id": "gateway-7"}),
        ({copy.customer: []}, {"X-Request-Id": "not a usual one"}),
        ([copy.customer], {"Accept": "*/*"}),
        ({copy.customer: []}, {"Idempotency-Key": '"k"'}),
        ({copy.customer: [], "unknown@example.com": []}, {}),
        ("all", {}),
        ({"c_wrong": []}, {}),
        ({}, {}),
    ):
        await remember(relay, app)
        short, long = [await ask(relay, post(app, destinations, headers | way)) for way in ({}, AIOHTTP_PATH)]
        assert short.status == long.status
        assert short.headers.keys() == long.headers.keys()
        varying = {"content-length", "date", "x-request-id", "ratelimit"}
        assert {k: v for k, v in short.headers.items() if k not in varying} == {
            k: v for k, v in long.headers.items() if k not in varying
        }
        assert (short.headers["x-request-id"] == "gateway-7") == (headers.get("X-Request-Id") == "gateway-7")
        bodies = [json.loads(reply.body) for reply in (short, long)]
        for body in bodies:
            body.pop("push_id", None), body.pop("request_id", None)
        assert bodies[0] == bodies[1]


async def test_a_usual_push_takes_the_fast_path(relay: Relay, store: Store) -> None:
    """aiohttp's server counts its requests; those on the fast path do not count there."""
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    await remember(relay, app)
    server = relay._runner.server
    assert server is not None
    async with connection(relay.url) as (reader, writer):
        before = server.requests_count
        for headers in ({}, {"X-Request-Id": "r"}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
            writer.write(post(app, {copy.customer: []}, headers))
            assert (await read_answer(reader)).status == 202
        assert server.requests_count == before
        writer.write(post(app, {copy.customer: []}, AIOHTTP_PATH))
        assert (await read_answer(reader)).status == 202
        assert server.requests_count == before + 1
        writer.write(post(app, {copy.customer: []}))
        assert (await read_answer(reader)).status == 202
        assert server.requests_count == before + 1, "a request through aiohttp does not keep later ones there"


async def test_the_client_takes_the_fast_path(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    server: Any = relay._runner.server
    async with PushSender(app.push_token, app.app_id, url=relay.url) as sender:
        await remember(relay, app)
        before = server.requests_count
        assert (await sender.send(ALERT, {copy.customer: []})).success
    assert server.requests_count == before


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
async def test_answers_come_in_the_order_of_the_requests(relay: Relay, store: Store, seed: int) -> None:
    """Many requests on one connection, on both paths, written in pieces of random size."""
    random = Random(seed)
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    usual, wrong = post(app, {copy.customer: []}), post(app, {"c_wrong": []})
    health = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"
    kinds = {usual: 202, post(app, {copy.customer: []}, AIOHTTP_PATH): 202, wrong: 422, health: 200}
    for mean in (100_000, 3000, 300, 60):
        everything = random.choices(list(kinds), (3, 1, 1, 1), k=150)
        said = b"".join(everything)
        await remember(relay, app)
        async with connection(relay.url) as (reader, writer):
            at = 0
            while at < len(said):
                size = random.randint(1, 2 * mean)
                writer.write(said[at : at + size])
                at += size
                await loop_turns()
            statuses = [(await read_answer(reader)).status for _ in everything]
        assert statuses == [kinds[request] for request in everything]


def odd(app: App, customer: str) -> dict[str, bytes]:
    """Return unusual requests by name, many of them pipelined before or after a usual one."""
    usual = post(app, {customer: []})
    head, body = usual.split(b"\r\n\r\n", 1)
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]

    def request(sent: bytes = body, *headers: bytes) -> bytes:
        return b"\r\n".join((*lines, *(headers or (b"Content-Length: %d" % len(sent),)), b"", sent))

    length, chunked = b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    upgrade = b"GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    return {
        "large": usual + request(b" " * 300_000 + body) + usual,
        "almost large": request(b" " * (MAX_BODY_BYTES - len(body)) + body) + usual,
        "chunked": request(chunks, chunked) + usual,
        "no chunk": usual + request(b"zz\r\n", chunked),
        "the last one": usual + request(body, length, b"Connection: close"),
        "of another version": request(body, length).replace(b"HTTP/1.1", b"HTTP/1.0"),
        "upgrade before": upgrade + usual,
        "upgrade behind": usual + upgrade + usual,
        "connect behind": usual + b"CONNECT relay:443 HTTP/1.1\r\nHost: relay\r\n\r\n" + usual,
        "garbage behind": usual + b"EHLO relay\r\n\r\n",
        "expectation": request(body, length, b"Expect: 100-continue") + usual,
        "encoded": request(body, length, b"Content-Encoding: gzip") + usual,
        "two tokens": request(body, length, b"Authorization: Bearer other") + usual,
        "two types": request(body, length, b"Content-Type: text/plain") + usual,
        "another type": usual.replace(b"application/json", b"text/plain") + usual,
        "large letters": usual.replace(b"application/json", b"Application/JSON") + usual,
        "no type": usual.replace(b"Content-Type: application/json\r\n", b"") + usual,
        "no body": request(b"") + usual,
        "no JSON": request(b'{"app_id": NaN}') + usual,
        "byte order mark": request(b"\xef\xbb\xbf" + body) + usual,
        "a key twice": request(body.replace(b"{", b'{"app_id": "x", ', 1)) + usual,
        "preference": request(body, length, b"Prefer: wait=30") + usual,
        "key": request(body, length, b'Idempotency-Key: "k"') + usual,
        "a key again": request(body, length, b"Idempotency-Key: k1") * 3,
        "a key again with another body": request(body, length, b"Idempotency-Key: k2")
        + request(body + b" ", b"Content-Length: %d" % (len(body) + 1), b"Idempotency-Key: k2"),
        "two keys": request(body, length, b"Idempotency-Key: k3", b"Idempotency-Key: k4") + usual,
        "no key": request(body, length, b"Idempotency-Key:") + usual,
        "without slash": usual.replace(b"/send/ ", b"/send ") + usual,
        "whole URL": usual.replace(b"/v1.0/send/ ", b"http://relay/v1.0/send/ ") + usual,
        "empty lines": b"\r\n\r\n" + usual + b"\r\n" + usual,
        "scheme in large letters": usual.replace(b"Bearer", b"BEARER") + usual,
        "no token": usual.replace(b"Authorization", b"X-Other") + usual,
        "unknown token": usual.replace(app.push_token.encode(), b"push_x") + usual,
        "token of another kind": usual.replace(app.push_token.encode(), app.publisher.manage_token.encode()),
        "many": usual * 100,
    }


async def test_unusual_requests_are_answered_as_without_the_fast_path(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    server: Any = relay._runner.server
    end = b"GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n"
    for name, said in odd(app, copy.customer).items():
        answers: list[list[int]] = []
        for fast_path in (server.fast_path, None):
            kept, server.fast_path = server.fast_path, fast_path
            await remember(relay, app)
            answers.append([])
            async with connection(relay.url) as (reader, writer):
                writer.write(said + end)
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    while True:
                        answers[-1].append((await read_answer(reader)).status)
            server.fast_path = kept
        assert answers[0] == answers[1], name
        assert answers[0], name


async def test_a_request_in_pieces_is_accepted(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    await remember(relay, app)
    said = post(app, {copy.customer: []})
    body = said.index(b"\r\n\r\n") + 4
    async with connection(relay.url) as (reader, writer):
        for cut in (5, body - 2, body, body + 1, len(said) - 1):
            writer.write(said[:cut])
            await asyncio.sleep(0.01)  # plays a slow caller
            writer.write(said[cut:])
            assert (await read_answer(reader)).status == 202


async def test_a_push_is_sent_although_its_caller_left(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    await remember(relay, app)
    for _ in range(5):
        async with connection(relay.url) as (_, writer):
            writer.write(post(app, {copy.customer: []}))
            await writer.drain()
            await asyncio.sleep(0.002)  # plays a caller that leaves

    async def all_received() -> bool:
        return await store.received(copy) == [5]

    await eventually(all_received)


async def test_requests_under_way_at_shutdown_are_answered(
    settings: Settings, relay: Relay, store: Store
) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    async with AsyncExitStack() as stack:
        ending = await Relay.start(settings, AsyncExitStack())
        await remember(ending, app)
        asked = [await stack.enter_async_context(connection(ending.url)) for _ in range(10)]
        async with relay.database.transaction() as lock:
            await lock.execute("LOCK TABLE push IN EXCLUSIVE MODE")

            async def commit_waits() -> bool:
                return bool(await lock.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            for _, writer in asked:
                writer.write(post(app, {copy.customer: []}))
            await eventually(commit_waits)
            end = asyncio.create_task(ending.aclose())
            await nothing_happens_for(0.1)
        assert [(await read_answer(reader)).status for reader, _ in asked] == [202] * 10
        await end


async def test_a_database_error_is_a_503(settings: Settings, relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    async with relay.database.connection() as database:
        await database.execute("ALTER TABLE push RENAME TO elsewhere")
    await remember(relay, app)
    answer = await ask(relay, post(app, {copy.customer: []}))
    assert (answer.status, answer.problem["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]


async def test_both_paths_are_logged_alike(relay: Relay, store: Store, log: Log) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    for destinations in ({copy.customer: []}, {copy.customer[:-1]: []}):
        lines = []
        for name, way in (("short", {}), ("long", AIOHTTP_PATH)):
            await remember(relay, app)
            await ask(
                relay, post(app, destinations, {"X-Request-Id": name, "X-Forwarded-For": "10.0.0.1", **way})
            )
            lines.append({line["event"]: line for line in log.grep(f'"{name}"')})
            log.lines.clear()
        assert lines[0].keys() == lines[1].keys()
        for event in lines[0]:
            short, long = (
                {k: v for k, v in by_event[event].items() if k not in VARYING_FIELDS} for by_event in lines
            )
            assert short == long
