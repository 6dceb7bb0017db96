"""The relay's PostgreSQL for the benchmarks: the embedded one, as shipped, durable, in a directory on a disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil

from bench import machine
from relay.store.embedded import EmbeddedPostgres

_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
_LOADING = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "'16GB'"}
_SHOWN = ("server_version", "shared_buffers", "max_wal_size", *_DURABLE)


class BenchPostgres:
    """A fresh PostgreSQL. Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        _clear(directory)
        self._server = EmbeddedPostgres(directory)
        self.url = self._server.url()
        self.settings = {name: self._show(name) for name in _SHOWN}
        off = [name for name in _DURABLE if self.settings[name] != "on"]
        if off:
            raise RuntimeError(f"this PostgreSQL is not durable: {', '.join(off)} is off")
        self._pid = int((directory / "postmaster.pid").read_text().split()[0])

    def cpu_seconds(self) -> float:
        """CPU of the server with all its processes."""
        return machine.cpu_seconds(self._pid)

    def value(self, query: str, *arguments: object) -> int:
        """The one number that a query gives."""
        return int(asyncio.run(self._fetch(query, *arguments)))

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """While the store is filled, no disk is waited for and nothing is cleaned up; afterwards all is as shipped.

        Ends with statistics, visibility map and checkpoint done, so that they don't fall into a measurement.
        """
        asyncio.run(
            self._execute(
                *(f"ALTER SYSTEM SET {name} = {value}" for name, value in _LOADING.items()),
                "SELECT pg_reload_conf()",
            )
        )
        yield
        asyncio.run(
            self._execute(
                *(f"ALTER SYSTEM RESET {name}" for name in _LOADING),
                "SELECT pg_reload_conf()",
                "VACUUM ANALYZE",
                "CHECKPOINT",
            )
        )
        if {name: self._show(name) for name in self.settings} != self.settings:
            raise RuntimeError("this PostgreSQL does not have its settings back")

    def _show(self, name: str) -> str:
        return str(asyncio.run(self._fetch(f"SHOW {name}")))

    async def _fetch(self, query: str, *arguments: object) -> object:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def __enter__(self) -> BenchPostgres:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _clear(directory: Path) -> None:
    """Remove what an interrupted run has left: its server, known by its pid file, and its files."""
    with contextlib.suppress(OSError, psutil.Error):
        left = psutil.Process(int((directory / "postmaster.pid").read_text().split()[0]))
        if str(directory) in left.cmdline():
            left.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            left.wait(30)
    shutil.rmtree(directory, ignore_errors=True)
