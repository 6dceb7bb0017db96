"""`push-relay serve` as a separate process."""

from __future__ import annotations

import contextlib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import psutil

from tests.leaks import LEAKS


@asynccontextmanager
async def serving(process: Process) -> AsyncIterator[str]:
    """Yield the URL of a `serve` process whose output is a pipe. Kill the process at the end."""
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        yield line.split("listens at ")[1].split(";")[0]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def scattered(url: str) -> aiohttp.ClientSession:
    """Open a session with one connection per request: the kernel spreads connections among workers, not requests."""
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(url, connector=connector, trace_configs=[LEAKS.tracing()])


def workers(process: Process) -> list[psutil.Process]:
    """Return the worker processes of a `serve` with several."""
    alive = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # it has just died
            if "spawn_main" in " ".join(child.cmdline()):
                alive.append(child)
    return alive


def worker_is_replaced(process: Process, dead: psutil.Process) -> bool:
    """Return whether `serve` has two workers again and `dead` is none of them."""
    pids = [worker.pid for worker in workers(process)]
    return len(pids) >= 2 and dead.pid not in pids
