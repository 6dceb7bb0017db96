"""Callers that send invalid or harmful HTTP: they get a problem or a closed connection."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from asyncio.subprocess import PIPE
from pathlib import Path

import msgspec
import psutil
import pytest
import yaml

from relay.node.main import Relay
from relay.settings import HttpSettings, Settings

from .process import serving
from .raw import connection, ends, read_answer, say
from .store import ALERT, PATIENCE, Store

HOST = b"Host: relay\r\n"
CLOSE = HOST + b"Connection: close\r\n"
POST = b"POST /v1.0/send/ HTTP/1.1\r\n" + CLOSE
SENT = b'{"app_id": "x"}'
TIMES = int(os.environ.get("CONNECTIONS", "20"))
"""Connections of each kind in each of the two rounds of the memory test."""

NOT_HTTP = {
    "bytes": (b"\x00\xff\xfe" * 20 + b"\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    "http 0.9": (b"GET /healthz\r\n\r\n", 505),
    "a version of the future": (b"GET /healthz HTTP/2.0\r\n" + CLOSE + b"\r\n", 505),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "another protocol": (b"EHLO relay\r\n", 400),
    "no version": (b"GET /healthz HTTP/x\r\n" + HOST + b"\r\n", 400),
    "unknown method": (b"STEAL /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "long line": (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "large header": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-Large: " + b"x" * 10_000 + b"\r\n\r\n", 431),
    "large name": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"x" * 10_000 + b": y\r\n\r\n", 431),
    "many headers": (
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: x\r\n" % n for n in range(200)) + b"\r\n",
        431,
    ),
    "nul in header": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n", 400),
    "folded header": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "space in name": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", 400),
    "line feeds": (b"GET /healthz HTTP/1.1\nHost: relay\n\n", 400),
    "expectation": (b"POST /v1.0/send/ HTTP/1.1\r\n" + CLOSE + b"Expect: wonders\r\n\r\n", 417),
    # Two servers in a row could disagree about these: request smuggling.
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + SENT, 400),
    "the same length twice": (POST + b"Content-Length: 15\r\nContent-Length: 15\r\n\r\n" + SENT, 400),
    "list of lengths": (POST + b"Content-Length: 15, 15\r\n\r\n" + SENT, 400),
    "length and chunks": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n" + SENT, 400),
    "signed length": (POST + b"Content-Length: +15\r\n\r\n" + SENT, 400),
    "hexadecimal length": (POST + b"Content-Length: 0x0f\r\n\r\n" + SENT, 400),
    "endless length": (POST + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n" + SENT, 400),
    "unknown encoding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n" + SENT, 400),
    "encoding after chunks": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "no chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + SENT, 400),
    "chunk too long": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n" + SENT, 400),
}


async def test_invalid_http_is_refused_with_a_problem(relay: Relay) -> None:
    for name, (said, status) in NOT_HTTP.items():
        answer = await say(relay.url, said)
        assert answer is not None, name
        assert answer.status == status, (name, answer)
        assert answer.problem["code"], name
        assert answer.headers["x-content-type-options"] == "nosniff", name
        assert answer.headers["server"] == "push-relay", name


async def test_the_answer_to_an_invalid_request_does_not_repeat_it(relay: Relay) -> None:
    secret = b"push_" + b"s3cr3t" * 8
    for said in (
        b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " + secret + b"\x00\r\n\r\n",
        b"GET /" + secret * 300 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Authorization Bearer " + secret + b"\r\n\r\n",
        secret + b"\r\n\r\n",
    ):
        answer = await say(relay.url, said)
        assert answer is not None
        assert secret not in answer.body


async def test_a_head_in_pieces_is_bounded(relay: Relay) -> None:
    async with connection(relay.url) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(5):
            writer.write(b"X-Piece: " + b"x" * 8000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)  # plays a slow caller
        answer = await read_answer(reader)
        assert answer.status == 431
        assert answer.problem["code"] == "head_too_large"
        assert await ends(reader)


async def test_harmful_bodies_are_refused(relay: Relay, store: Store) -> None:
    app = await store.app()
    post = POST + f"Authorization: Bearer {app.push_token}\r\nContent-Type: application/json\r\n".encode()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    bomb = zlib.compress(b" " * 100_000_000)

    def sized(body: bytes, *headers: bytes) -> bytes:
        return post + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body

    for name, pieces, status in (
        ("a length past the limit", [post + b"Content-Length: 1000000000000\r\n\r\n"], 413),
        ("chunks without end", [post + chunked, *[chunk] * 80], 413),
        ("a body past its limit", [sized(b" " * 5_000_000)], 413),
        ("a chunk that is none", [post + chunked + b"5\r\n{\r\n", b"zz\r\nxx\r\n"], 400),
        ("a deflated bomb", [sized(bomb, b"Content-Encoding: deflate\r\n")], 415),
        ("a bomb that says gzip", [sized(bomb, b"Content-Encoding: gzip\r\n")], 415),
        ("two encodings", [sized(bomb, b"Content-Encoding: deflate, gzip\r\n")], 415),
        ("deep lists", [sized(b"[" * 1_000_000)], 400),
        ("deep objects", [sized(b'{"a":' * 500_000)], 400),
        ("a number of a million digits", [sized(b'{"priority":' + b"9" * 1_000_000 + b"}")], 400),
        ("an exponent", [sized(b'{"priority":1e999999999}')], 400),
        ("a key twice", [sized(b'{"app_id":"x","app_id":"x"}')], 400),
        ("a million keys", [sized(b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}")], 422),
        ("half a character", [sized(b'{"app_id":"\xe2\x82"}')], 400),
    ):
        async with asyncio.timeout(2 * PATIENCE):
            answer = await say(relay.url, *pieces, end=False)
        # A caller that is still writing when the connection ends may miss the answer.
        if answer is None:
            assert len(b"".join(pieces)) > 100_000, name
            continue
        assert answer.status == status, (name, answer)
        assert answer.problem["success"] is False
    async with relay.database.connection() as connected:
        assert await connected.fetchval("SELECT count(*) FROM push") == 0


async def test_pipelined_requests_are_answered_in_order_until_an_invalid_one(relay: Relay) -> None:
    ask = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    miss = b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n"
    async with connection(relay.url) as (reader, writer):
        writer.write((ask + miss) * 100)
        assert [(await read_answer(reader)).status for _ in range(200)] == [200, 404] * 100
        writer.write(b"EHLO relay\r\n\r\n" + ask)
        assert (await read_answer(reader)).status == 400
        assert await ends(reader)


async def test_unusual_but_valid_requests_are_answered(relay: Relay) -> None:
    for line, status in (
        (b"OPTIONS * HTTP/1.1", 404),
        (b"TRACE /healthz HTTP/1.1", 405),
        (b"CONNECT relay:443 HTTP/1.1", 404),
        (b"GET //healthz HTTP/1.1", 404),
        (b"GET /v1.0/spec/../../etc/passwd HTTP/1.1", 404),
        (b"GET /v1.0/spec/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1", 404),
        (b"GET /v1.0/spec/%00 HTTP/1.1", 404),
        (b"GET /%ff%fe%zz HTTP/1.1", 404),
        (b"GET /v1.0/apps/?limit=%ff HTTP/1.1", 401),
        (b"GET http://elsewhere/healthz HTTP/1.1", 200),
        (b"GET /healthz HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade", 200),
        (b"GET /healthz HTTP/1.0", 200),
    ):
        said = line + b"\r\n" + (CLOSE if b"upgrade" not in line else HOST) + b"\r\n"
        answer = await say(relay.url, said, end=False)
        assert answer is not None, line
        assert answer.status == status, (line, answer)
        assert status == 200 or answer.problem["code"]


@pytest.mark.slow
async def test_attacks_leave_no_memory_in_use(
    settings: Settings, relay: Relay, store: Store, tmp_path: Path
) -> None:
    """All attacks above, many at a time, against a separate process."""
    app = await store.app()
    good = json.dumps({"app_id": app.app_id, "payload": ALERT, "destinations": {"c_x": []}}).encode()
    bearer = f"Authorization: Bearer {app.push_token}\r\n".encode()
    bomb = zlib.compress(b" " * 50_000_000)
    sized = POST + b"Content-Length: %d\r\n"
    attacks = {
        **{name: said for name, (said, _) in NOT_HTTP.items()},
        "a bomb, without a token": sized % len(bomb) + b"Content-Encoding: deflate\r\n\r\n" + bomb,
        "a bomb": sized % len(bomb) + bearer + b"Content-Encoding: deflate\r\n\r\n" + bomb,
        "a large body, without a token": sized % 5_000_000 + b"\r\n" + b" " * 5_000_000,
        "half a body": sized % 1000 + bearer + b"\r\n{",
        "half a head": POST + b"X: ",
        "chunks without a token": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000,
        "deep json": sized % 100_000 + bearer + b"\r\n" + b"[" * 100_000,
        "refused": sized % len(good) + bearer + b"\r\n" + good,
        "an unread page": b"GET /v1.0/spec/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n",
    }
    limits = HttpSettings(port=0, header_timeout=1, body_timeout=1, answer_timeout=1)
    separate = msgspec.structs.replace(settings, http=limits)
    file = tmp_path / "separate.yaml"
    file.write_text(yaml.safe_dump(msgspec.to_builtins(separate)))
    command = [sys.executable, "-m", "relay", "serve", "--api", "--config", str(file)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    async with serving(process) as url:
        relays = psutil.Process(process.pid)

        async def kib_after_all_attacks() -> int:
            for said in attacks.values():
                await asyncio.gather(*(_leave(url, said) for _ in range(TIMES)))
            answer = await say(url, b"GET /healthz HTTP/1.1\r\n" + CLOSE + b"\r\n")
            assert answer is not None
            assert answer.status == 200
            return relays.memory_info().rss // 1024

        start = relays.memory_info().rss // 1024
        first = await kib_after_all_attacks()
        second = await kib_after_all_attacks()
    print(f"\nresident KiB: at the start {start}, after {TIMES} of each {first}, after {2 * TIMES} {second}")
    assert second - first < 8 * 1024


async def _leave(url: str, said: bytes) -> None:
    """Write the bytes, read for up to two seconds, and leave."""
    async with connection(url) as (reader, writer):
        try:
            writer.write(said)
            async with asyncio.timeout(2):
                await writer.drain()
                await reader.read(100)
        except (ConnectionError, TimeoutError):
            pass
