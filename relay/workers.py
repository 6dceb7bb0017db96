"""Several processes on one machine. Each is a whole relay; they share the port (SO_REUSEPORT) and the database.

The parent only watches: it owns the embedded PostgreSQL and the listening sockets, so a worker that dies loses none of
the connections that wait at its socket. Another takes its place; what it was sending comes back when its leases end.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from multiprocessing.context import SpawnProcess
from typing import Any

import msgspec
import uvloop

from relay.app import Relay, open_database, start_postgres
from relay.config import Settings, key_ring
from relay.logs import log_to_stderr

_log = logging.getLogger(__name__)
_spawn = multiprocessing.get_context("spawn")
_PAUSE = 1.0
"""Seconds before a worker that died is replaced."""
_PATIENCE = 30.0
"""Seconds for workers to end in order; a relay needs about 20 at most."""


async def serve(settings: Settings, count: int, *, dispatch: bool, ready: Callable[[str], None]) -> None:
    """Run `count` workers until SIGTERM or SIGINT. `ready` is called with the URL once the port is open.

    Raises OSError if it cannot be opened, and Unavailable if the database is away.
    """
    stopped = stop_signals()
    async with AsyncExitStack() as stack:
        key_ring(settings.keys)  # made here once, where there are none yet
        url = await start_postgres(settings, stack)
        settings = msgspec.structs.replace(
            settings, database=msgspec.structs.replace(settings.database, url=url)
        )
        async with AsyncExitStack() as migration:
            await open_database(settings, migration)
        sockets = _listen(settings.http.host, settings.http.port, count)
        host, port = sockets[0].getsockname()[:2]
        ready(f"http://{host}:{port}")
        async with asyncio.TaskGroup() as watched:
            for number, listener in enumerate(sockets):
                stack.callback(listener.close)
                watched.create_task(_keep(f"worker-{number}", settings, listener, dispatch, stopped))


def stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that share a port: the kernel spreads connections over them. `port` 0 takes a free one."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    sockets: list[socket.socket] = []
    for _ in range(count):
        sockets.append(socket.create_server((host, port), family=family, backlog=1024, reuse_port=True))
        port = sockets[0].getsockname()[1]
    return sockets


async def _keep(
    name: str, settings: Settings, listener: socket.socket, dispatch: bool, stopped: asyncio.Event
) -> None:
    """One worker, replaced when it dies, until `stopped`."""
    while not stopped.is_set():
        process = _spawn.Process(target=_work, args=(settings, listener, dispatch), name=name)
        process.start()
        ended = _end_of(process)
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stopped.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.is_set():
            await _end(process, ended)
        else:
            _log.error("%s died (exit code %s); another takes its place", name, process.exitcode)
            await asyncio.wait({stopping}, timeout=_PAUSE)
        stopping.cancel()
        process.join()


async def _end(process: SpawnProcess, ended: asyncio.Future[Any]) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(_PATIENCE):
            await ended
    except TimeoutError:
        process.kill()


def _end_of(process: SpawnProcess) -> asyncio.Future[Any]:
    """Done when the process has ended."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()
    sentinel = process.sentinel

    def note() -> None:
        loop.remove_reader(sentinel)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(sentinel, note)
    return ended


def _work(settings: Settings, listener: socket.socket, dispatch: bool) -> None:
    """A worker's process."""
    log_to_stderr(settings.log)
    uvloop.run(_relay(settings, listener, dispatch))


async def _relay(settings: Settings, listener: socket.socket, dispatch: bool) -> None:
    stopped = stop_signals()
    parent = multiprocessing.parent_process()
    if parent is not None:  # never without it: it would hold the port
        asyncio.get_running_loop().add_reader(parent.sentinel, stopped.set)
    async with AsyncExitStack() as stack:
        await Relay.start(settings, stack, dispatch=dispatch, listener=listener)
        await stopped.wait()
