"""A caller that writes bytes, not requests."""

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
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> Any:
        """The body of an error, which is a problem with its status."""
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
    """The next answer. Raises asyncio.IncompleteReadError if the connection is closed instead."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(": ")
        assert name.lower() not in headers, "no header comes twice"
        headers[name.lower()] = value
    status = int(head[0].split(" ")[1])
    return RawAnswer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the relay closes the connection without another word."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def say(url: str, *pieces: bytes, end: bool = True) -> RawAnswer | None:
    """The answer to those bytes, or None if the connection is closed. With `end` it must be closed in any case."""
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
