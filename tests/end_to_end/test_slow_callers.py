"""Callers that are slow with the head, the body or the answer, and the limit of connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from relay.node.main import Relay
from relay.settings import HttpSettings, Settings
from tests.eventually import nothing_happens_for

from .raw import connection, ends, read_answer
from .store import Store

ASK = b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"
MAX_CONNECTIONS = 20


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # Longer than the pauses of a busy machine.
    limits = HttpSettings(
        port=0, max_connections=MAX_CONNECTIONS, header_timeout=4, body_timeout=4, answer_timeout=1
    )
    return msgspec.structs.replace(settings, http=limits)


async def dribble(writer: asyncio.StreamWriter, said: bytes) -> None:
    for byte in said:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)  # plays a slow caller


@asynccontextmanager
async def dribbling(writer: asyncio.StreamWriter, said: bytes) -> AsyncIterator[None]:
    task = asyncio.create_task(dribble(writer, said))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("first", [b"", ASK], ids=["first request", "second request"])
async def test_a_slow_head_times_out(relay: Relay, first: bytes) -> None:
    async with connection(relay.url) as (reader, writer):
        if first:
            writer.write(first)
            assert (await read_answer(reader)).status == 200
        async with dribbling(writer, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 600):
            answer = await read_answer(reader)
            assert answer.status == 408
            assert answer.problem["code"] == "request_timeout"
            assert answer.headers["connection"] == "close"
            assert await ends(reader)


async def test_a_silent_connection_times_out_only_before_its_first_request(relay: Relay) -> None:
    async with connection(relay.url) as (silent, _), connection(relay.url) as (reader, writer):
        writer.write(ASK)
        assert (await read_answer(reader)).status == 200
        assert (await read_answer(silent)).status == 408
        assert await ends(silent)
        await nothing_happens_for(1.5)
        writer.write(ASK)
        assert (await read_answer(reader)).status == 200


async def test_a_slow_body_times_out(relay: Relay, store: Store) -> None:
    app = await store.app()
    head = f"POST /v1.0/send/ HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {app.push_token}\r\n".encode()
    for how in (b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"):
        async with connection(relay.url) as (reader, writer):
            writer.write(head + how)
            async with dribbling(writer, b" " * 900):
                answer = await read_answer(reader)
                assert answer.status == 408
                assert answer.problem["code"] == "request_timeout"
    async with connection(relay.url) as (reader, writer):  # a body in two pieces is not slow
        writer.write(head + b"Content-Length: 4\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.05)  # plays a slow caller
        writer.write(b'"":')
        assert (await read_answer(reader)).status == 400


async def test_an_answer_that_is_not_read_is_given_up(relay: Relay) -> None:
    page = b"GET /v1.0/spec/swagger-ui-bundle.js HTTP/1.1\r\nHost: relay\r\n\r\n"
    async with connection(relay.url) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(page * 20)
        with pytest.raises(ConnectionError):
            await dribble(writer, b"\r\n" * 1000)


async def test_the_number_of_connections_is_limited(relay: Relay) -> None:
    async with contextlib.AsyncExitStack() as stack:
        kept = []
        for _ in range(MAX_CONNECTIONS):
            reader, writer = await stack.enter_async_context(connection(relay.url))
            kept.append((reader, writer))
            writer.write(ASK)
            assert (await read_answer(reader)).status == 200
        async with connection(relay.url) as (reader, _):
            answer = await read_answer(reader)
            assert answer.status == 503
            assert answer.problem["code"] == "unavailable"
            assert int(answer.headers["retry-after"]) >= 1
            assert await ends(reader)
        kept[0][1].close()
        answer = None
        while answer is None or answer.status == 503:  # until the relay has noticed the closed connection
            async with connection(relay.url) as (reader, writer):
                writer.write(ASK)
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    answer = await read_answer(reader)
        assert answer.status == 200
        for reader, writer in kept[1:]:
            writer.write(ASK)
            assert (await read_answer(reader)).status == 200
