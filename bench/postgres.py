"""The embedded PostgreSQL with its settings as shipped, durable, in a directory on a disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from bench import machine
from relay.store.embedded import EmbeddedPostgres

_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
_LOADING = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "'16GB'"}
_SHOWN = ("server_version", "shared_buffers", "max_wal_size", *_DURABLE)


class BenchPostgres:
    """A fresh PostgreSQL server. A context manager, which stops it and deletes its files."""

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
        """Return the CPU seconds of the server with all its processes."""
        return machine.cpu_seconds(self._pid)

    def value(self, query: str, *arguments: object) -> int:
        """Return the number that a query gives."""
        return int(asyncio.run(self._fetch(query, *arguments)))

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Switch durability and autovacuum off in the `with` block, in which the store is filled.

        At its end the settings are as shipped, and statistics, visibility map and checkpoint are done: they do not
        fall into a measurement.
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

    async def _fetch(self, query: str, *arguments: object) -> Any:
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
    """Stop the server of an interrupted run, known by its pid file, and delete its files."""
    with contextlib.suppress(OSError, psutil.Error):
        server = psutil.Process(int((directory / "postmaster.pid").read_text().split()[0]))
        if str(directory) in server.cmdline():
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            server.wait(30)
    shutil.rmtree(directory, ignore_errors=True)
