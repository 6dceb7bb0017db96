"""`push-relay serve` as a process of its own."""

from __future__ import annotations

from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.leaks import LEAKS


@asynccontextmanager
async def serving(process: Process) -> AsyncIterator[str]:
    """The URL of a `serve` that was started with its output piped. At the end it does not run any more."""
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        yield line.split("listens at ")[1].split(";")[0]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def scattered(url: str) -> aiohttp.ClientSession:
    """A session with a connection for each request: among workers the kernel spreads connections, not requests."""
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(url, connector=connector, trace_configs=[LEAKS.tracing()])
