"""Several processes on one machine. Each is a whole relay; they share the port (SO_REUSEPORT) and the database.

The parent only watches: it owns the embedded PostgreSQL and the listening sockets, so a worker that dies loses none of
the connections that wait at its socket. Another takes its place; what it was sending comes back when its leases end.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Any

import msgspec
import uvloop

from relay.core.errors import Unavailable
from relay.keys import key_ring
from relay.node.database import open_database, start_postgres
from relay.node.main import ACCEPT_BACKLOG, Relay
from relay.node.roles import Roles
from relay.settings import Settings
from relay.telemetry import processes
from relay.telemetry.logs import get_logger, log_to_stderr

_log = get_logger(__name__)
_spawn = multiprocessing.get_context("spawn")
_PAUSE = 1.0
"""Seconds before a worker that died is replaced."""
_SOON = 10.0
_TRIES = 5
"""A worker that died so often within so many seconds of its start will not run at all."""
PATIENCE = 45.0
"""Seconds for a worker to end in order: the patience of each of a relay's parts, added up."""


async def serve(settings: Settings, count: int, roles: Roles, *, ready: Callable[[str], None]) -> None:
    """Run `count` workers until SIGTERM or SIGINT. `ready` is called with the URL once all of them serve.

    Raises OSError if the port cannot be opened, and Unavailable if the database's URL cannot be read or a worker dies
    again and again; then the others are ended in order.
    """
    stopped = stop_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(processes.shared())
        key_ring(settings.keys)  # made here once, where there are none yet
        url = await start_postgres(settings, stack)
        settings = msgspec.structs.replace(
            settings, database=msgspec.structs.replace(settings.database, url=url)
        )
        async with AsyncExitStack() as look:
            await open_database(settings, look)
        workers = [
            _Worker(f"worker-{number}", listeners, stopped)
            for number, listeners in enumerate(_listen(settings.http.host, settings.http.port, count))
        ]
        host, port = workers[0].listeners[0].getsockname()[:2]
        kept = [asyncio.create_task(worker.keep(settings, roles)) for worker in workers]
        announced = asyncio.create_task(_announce(workers, ready, f"http://{host}:{port}"))
        try:
            await asyncio.gather(*kept)
        finally:
            stopped.set()
            announced.cancel()
            await asyncio.gather(*kept, return_exceptions=True)


def rest_collector() -> None:
    """Let Python's cyclic collector look at what starting left no more, and at the rest seldom.

    Hardly anything here is in a cycle: with its defaults it takes a tenth of the CPU, and stops for 0.1 s at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


def stop_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def _listen(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """For each worker its sockets, one an address of the host. All share the port: the kernel spreads connections.

    `port` 0 takes a free one. Raises OSError where somebody else listens, even one who would share.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {info[4][0]: info[0] for info in found}
    for address, family in addresses.items():
        socket.create_server((str(address), port), family=family).close()
    listeners: list[list[socket.socket]] = [[] for _ in range(count)]
    for address, family in addresses.items():
        for own in listeners:
            own.append(
                socket.create_server(
                    (str(address), port), family=family, backlog=ACCEPT_BACKLOG, reuse_port=True
                )
            )
            port = own[-1].getsockname()[1]
    return listeners


async def _announce(workers: Sequence[_Worker], ready: Callable[[str], None], url: str) -> None:
    while not all(worker.serves.is_set() for worker in workers):  # noqa: ASYNC110  they are set by other processes
        await asyncio.sleep(0.05)
    ready(url)


class _Worker:
    """One process, and those that take its place."""

    def __init__(self, name: str, listeners: Sequence[socket.socket], stopped: asyncio.Event) -> None:
        self.name = name
        self.listeners = listeners
        self.serves = _spawn.Event()
        self._stopped = stopped

    async def keep(self, settings: Settings, roles: Roles) -> None:
        """Run it, and another when it dies, until stopped. Raises Unavailable if it can't be kept running."""
        stopping = asyncio.ensure_future(self._stopped.wait())
        deaths = 0
        try:
            while not stopping.done():
                started = time.monotonic()
                await self._run(settings, roles, stopping)
                deaths = deaths + 1 if time.monotonic() - started < _SOON else 0
                if deaths == _TRIES:
                    raise Unavailable(f"{self.name} does not run: see the log.")
                await asyncio.wait({stopping}, timeout=_PAUSE)
        finally:
            stopping.cancel()
            self._close()

    async def _run(self, settings: Settings, roles: Roles, stopping: asyncio.Future[Any]) -> None:
        process = _spawn.Process(
            target=_work, args=(settings, self.listeners, roles, self.serves), name=self.name
        )
        try:
            process.start()
        except OSError as error:
            _log.error("a worker cannot be started", worker=self.name, error=error.strerror)
            return
        end = asyncio.Event()
        _when_ended(process.sentinel, end.set)
        ended: asyncio.Future[Any] = asyncio.ensure_future(end.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                _log.error(
                    "a worker died; another takes its place", worker=self.name, exit_code=process.exitcode
                )
        finally:
            if stopping.done():
                self._close()  # from here on nobody would accept what comes
            await _end(process, ended)
            processes.forget(process.pid or 0)

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()


async def _end(process: SpawnProcess, ended: asyncio.Future[Any]) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await ended
    except TimeoutError:
        process.kill()
    process.join()


def _when_ended(sentinel: int, then: Callable[[], object]) -> None:
    """Call `then` once when the process with that sentinel has ended."""
    loop = asyncio.get_running_loop()

    def note() -> None:
        loop.remove_reader(sentinel)
        then()

    loop.add_reader(sentinel, note)


def _work(settings: Settings, listeners: Sequence[socket.socket], roles: Roles, serves: Event) -> None:
    """A worker's process."""
    log_to_stderr(settings.log, settings.log_format)
    uvloop.run(_relay(settings, listeners, roles, serves))


async def _relay(settings: Settings, listeners: Sequence[socket.socket], roles: Roles, serves: Event) -> None:
    stopped = stop_signals()
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a process of `keep`
    # However it ends: nobody would watch this process, and it holds the port.
    _when_ended(parent.sentinel, stopped.set)
    async with AsyncExitStack() as stack:
        await Relay.start(settings, stack, roles=roles, listeners=listeners)
        rest_collector()
        serves.set()
        await stopped.wait()
