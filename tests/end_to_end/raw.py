"""A caller that writes raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .store import PATIENCE


class RawAnswer(NamedTuple):
    """One HTTP answer as received."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> Any:
        """Return the body of an error, after checks that it is a problem with the right status and request id."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["success"] is False
        assert problem["request_id"] == self.headers["x-request-id"]
        assert problem["errors"][0]["detail"]
        return problem


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    where = urlsplit(url)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def read_answer(reader: asyncio.StreamReader) -> RawAnswer:
    """Return the next answer. Raises asyncio.IncompleteReadError if the connection is closed instead."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, "no header comes twice"
        headers[name.lower()] = value
    status = int(head[0].split(" ")[1])
    return RawAnswer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def ends(reader: asyncio.StreamReader) -> bool:
    """Return True if the relay closes the connection without further data."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def say(url: str, *pieces: bytes, end: bool = True) -> RawAnswer | None:
    """Return the answer to the bytes in `pieces`, or None if the connection was closed without one.

    With `end`, the connection must be closed after the answer.
    """
    async with connection(url) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        try:
            answer = await read_answer(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        assert not end or await ends(reader)
        return answer
