"""Several worker processes on one machine, each a complete node. They share the port (SO_REUSEPORT) and the database.

The parent supervises them. It owns the embedded PostgreSQL and the listening sockets, so the connections that wait at
the socket of a worker survive its death. Another worker replaces it, and the batches it was sending return to the queue
when their leases end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
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
from relay.node.process import catch_stop_signals, tune_garbage_collector
from relay.node.roles import Roles
from relay.settings import Settings
from relay.telemetry import processes
from relay.telemetry.logs import get_logger, log_to_stderr

_log = get_logger(__name__)
_spawn = multiprocessing.get_context("spawn")
_RESTART_PAUSE_SECONDS = 1.0
"""Pause before a worker that died is replaced."""
_EARLY_DEATH_SECONDS = 10.0
_MAX_EARLY_DEATHS = 5
"""After this many deaths in a row within `_EARLY_DEATH_SECONDS` of the start, the worker is given up."""
SHUTDOWN_PATIENCE_SECONDS = 45.0
"""Time for a worker to shut down before it is killed: the sum of the patience for each part of a node."""
_ANNOUNCE_POLL_SECONDS = 0.05


async def serve_with_workers(
    settings: Settings, count: int, roles: Roles, *, ready: Callable[[str], None]
) -> None:
    """Run `count` workers until SIGTERM or SIGINT. `ready` is called with the URL once all of them serve.

    Raises:
        OSError: the port cannot be opened.
        Unavailable: the database's URL cannot be read, or a worker dies repeatedly. The others are shut down then.
    """
    stopped = catch_stop_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(processes.shared())
        key_ring(settings.keys)  # create them once, before the workers read them
        url = await start_postgres(settings, stack)
        settings = msgspec.structs.replace(
            settings, database=msgspec.structs.replace(settings.database, url=url)
        )
        async with AsyncExitStack() as check:
            await open_database(settings, check)
        workers = [
            _Worker(f"worker-{number}", listeners, stopped)
            for number, listeners in enumerate(_open_listeners(settings.http.host, settings.http.port, count))
        ]
        host, port = workers[0].listeners[0].getsockname()[:2]
        supervisors = [asyncio.create_task(worker.supervise(settings, roles)) for worker in workers]
        announcement = asyncio.create_task(_announce(workers, ready, f"http://{host}:{port}"))
        try:
            await asyncio.gather(*supervisors)
        finally:
            stopped.set()
            announcement.cancel()
            await asyncio.gather(*supervisors, return_exceptions=True)


def _open_listeners(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """Return the listening sockets of each worker, one for each address of `host`.

    All share the port, and the kernel spreads the connections. `port` 0 takes a free one.

    Raises:
        OSError: another process listens at the port, even one that would share it.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {info[4][0]: info[0] for info in infos}
    for address, family in addresses.items():
        socket.create_server((str(address), port), family=family).close()
    listeners: list[list[socket.socket]] = [[] for _ in range(count)]
    for address, family in addresses.items():
        for of_worker in listeners:
            listener = socket.create_server(
                (str(address), port), family=family, backlog=ACCEPT_BACKLOG, reuse_port=True
            )
            of_worker.append(listener)
            port = listener.getsockname()[1]
    return listeners


async def _announce(workers: Sequence[_Worker], ready: Callable[[str], None], url: str) -> None:
    while not all(worker.serves.is_set() for worker in workers):  # noqa: ASYNC110  other processes set them
        await asyncio.sleep(_ANNOUNCE_POLL_SECONDS)
    ready(url)


class _Worker:
    """A worker process and its replacements."""

    def __init__(self, name: str, listeners: Sequence[socket.socket], stopped: asyncio.Event) -> None:
        self.name = name
        self.listeners = listeners
        self.serves = _spawn.Event()
        self._stopped = stopped

    async def supervise(self, settings: Settings, roles: Roles) -> None:
        """Run the worker, and replace it when it dies, until stopped. Raises Unavailable after repeated deaths."""
        stopping = asyncio.ensure_future(self._stopped.wait())
        deaths = 0
        try:
            while not stopping.done():
                started = time.monotonic()
                await self._run(settings, roles, stopping)
                deaths = deaths + 1 if time.monotonic() - started < _EARLY_DEATH_SECONDS else 0
                if deaths == _MAX_EARLY_DEATHS:
                    raise Unavailable(f"{self.name} does not run: see the log.")
                await asyncio.wait({stopping}, timeout=_RESTART_PAUSE_SECONDS)
        finally:
            stopping.cancel()
            self._close()

    async def _run(self, settings: Settings, roles: Roles, stopping: asyncio.Future[Any]) -> None:
        process = _spawn.Process(
            target=_run_worker, args=(settings, self.listeners, roles, self.serves), name=self.name
        )
        try:
            process.start()
        except OSError as error:
            _log.error("a worker cannot be started", worker=self.name, error=error.strerror)
            return
        has_ended = asyncio.Event()
        _on_process_end(process.sentinel, has_ended.set)
        ended: asyncio.Future[Any] = asyncio.ensure_future(has_ended.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                _log.error(
                    "a worker died; another takes its place", worker=self.name, exit_code=process.exitcode
                )
        finally:
            if stopping.done():
                self._close()  # no worker accepts its connections from here on
            await _end_process(process, ended)
            processes.forget(process.pid or 0)

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()


async def _end_process(process: SpawnProcess, ended: asyncio.Future[Any]) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(SHUTDOWN_PATIENCE_SECONDS):
            await ended
    except TimeoutError:
        process.kill()
    process.join()


def _on_process_end(sentinel: int, callback: Callable[[], object]) -> None:
    """Call `callback` once when the process with that sentinel has ended."""
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        loop.remove_reader(sentinel)
        callback()

    loop.add_reader(sentinel, on_readable)


def _run_worker(settings: Settings, listeners: Sequence[socket.socket], roles: Roles, serves: Event) -> None:
    """Run a node in this process, which is a worker."""
    log_to_stderr(settings.log, settings.log_format)
    uvloop.run(_run_node(settings, listeners, roles, serves))


async def _run_node(
    settings: Settings, listeners: Sequence[socket.socket], roles: Roles, serves: Event
) -> None:
    stopped = catch_stop_signals()
    parent = multiprocessing.parent_process()
    assert parent is not None  # `_Worker` started this process
    # Without its parent this process is unsupervised and still holds the port.
    _on_process_end(parent.sentinel, stopped.set)
    async with AsyncExitStack() as stack:
        await Relay.start(settings, stack, roles=roles, listeners=listeners)
        tune_garbage_collector()
        serves.set()
        await stopped.wait()
