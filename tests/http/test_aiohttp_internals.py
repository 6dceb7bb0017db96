"""The private members of aiohttp that the relay uses: each is there, and is what the relay takes it for."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage

import relay
from relay.http import aiohttp_internals
from relay.http.aiohttp_internals import QueueingConnection

ATTRIBUTES: dict[str, type] = {
    "_request_count": int,
    "_messages": deque,
    "_waiter": type(None),  # an asyncio.Future while the task waits: see below
    "_request_in_progress": bool,
    "_close": bool,
    "_read_bufsize": int,
    "_loop": asyncio.AbstractEventLoop,
    "_next_keepalive_close_time": float,
    "_keepalive_timeout": (int, float),  # type: ignore[dict-item]
    "_parser": HttpRequestParser,
    "_buffer_paused": bool,
    "_msg_queue_resume_size": int,
}
METHODS = {
    (web.RequestHandler, "_resume_reading_if_drained"): "(self) -> None",
    (web.AppRunner, "_make_server"): "(self) -> aiohttp.web_server.Server",
}
HEAD_FIELDS = ("method", "path", "version", "headers", "should_close", "upgrade")
SOURCES = Path(relay.__file__).parent


async def _ok(_: web.BaseRequest) -> web.Response:
    return web.Response(text="ok")


@pytest.fixture
async def connection() -> QueueingConnection:
    return QueueingConnection(web.Server(_ok), loop=asyncio.get_running_loop())


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_the_attribute_exists_and_has_its_kind(name: str, connection: QueueingConnection) -> None:
    assert hasattr(connection, name), f"aiohttp's RequestHandler has no {name} any more"
    value = getattr(connection, name)
    assert isinstance(value, ATTRIBUTES[name]), f"aiohttp's RequestHandler.{name} is {value!r}"


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_the_method_exists_and_has_its_signature(owner: type, name: str) -> None:
    assert hasattr(owner, name), f"aiohttp's {owner.__name__} has no {name} any more"
    signature = str(inspect.signature(getattr(owner, name)))
    assert signature == METHODS[owner, name], f"aiohttp's {owner.__name__}.{name} is called otherwise"


def test_making_a_server_is_asynchronous() -> None:
    assert inspect.iscoroutinefunction(web.AppRunner._make_server)


def test_the_parser_counts_consumed_messages(connection: QueueingConnection) -> None:
    assert connection._parser is not None
    assert connection._parser.message_consumed() is None


@pytest.mark.parametrize("name", HEAD_FIELDS)
def test_the_head_of_a_request_has_its_field(name: str, connection: QueueingConnection) -> None:
    connection.feed_without_waking(b"GET /path HTTP/1.1\r\nHost: example.com\r\n\r\n")
    message, _ = connection.first_request()
    assert isinstance(message, RawRequestMessage)
    assert hasattr(message, name)


def test_bytes_are_parsed_and_the_task_stays_asleep(connection: QueueingConnection) -> None:
    waiter: asyncio.Future[None] = connection._loop.create_future()
    connection._waiter = waiter
    connection.feed_without_waking(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert (connection.parsed_requests, connection.has_queued_requests) == (1, True)
    assert connection.is_task_waiting
    assert connection.is_task_idle
    connection.wake_task()
    connection.wake_task()  # waking it twice does nothing
    assert waiter.done()
    assert connection.is_task_waiting
    assert not connection.is_task_idle


async def test_a_body_that_was_read_can_be_read_again(connection: QueueingConnection) -> None:
    connection.feed_without_waking(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody")
    _, payload = connection.first_request()
    assert connection.last_body() is payload
    body = payload.read_nowait()
    connection.unread_first_body(body)
    _, payload = connection.first_request()
    assert payload.is_eof()
    assert await payload.read() == b"body"


def test_the_queue_is_taken_and_restored_in_order(connection: QueueingConnection) -> None:
    for path in (b"/a", b"/b"):
        connection.feed_without_waking(b"GET " + path + b" HTTP/1.1\r\nHost: example.com\r\n\r\n")
    requests = connection.take_queue()
    assert not connection.has_queued_requests
    connection.restore_queue(requests)
    connection.drop_first_request()
    assert connection.first_request()[0].path == "/b"
    assert connection._next_keepalive_close_time > connection._loop.time()


def test_reading_resumes_when_a_full_queue_is_drained(connection: QueueingConnection) -> None:
    request = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
    connection.feed_without_waking(request * 2 * (connection._msg_queue_resume_size + 1))
    assert connection._buffer_paused
    while connection.has_queued_requests and connection._buffer_paused:
        connection.drop_first_request()
    assert not connection._buffer_paused


def _private_members() -> set[str]:
    owners: tuple[Any, ...] = (web.RequestHandler, web.AppRunner, web.Server, BaseProtocol)
    names = {name for owner in owners for name in dir(owner)} | {"_loop", "_kwargs", "_connections"}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def _uses(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in _private_members():
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in _private_members():
            yield node.name


def test_the_tables_name_every_private_member_that_is_used() -> None:
    used = set(_uses(Path(aiohttp_internals.__file__)))
    assert used == {*ATTRIBUTES, *(name for _, name in METHODS)}


@pytest.mark.parametrize("path", sorted(SOURCES.glob("http/*.py")), ids=lambda path: path.name)
def test_private_members_are_used_in_one_file_only(path: Path) -> None:
    if path != Path(aiohttp_internals.__file__):
        assert set(_uses(path)) == set()
