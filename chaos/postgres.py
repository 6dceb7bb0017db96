"""A PostgreSQL that can be stopped, killed, and started again with the same data at the same place."""

from __future__ import annotations

import asyncio
import contextlib

import psutil

from relay.store.embedded import EmbeddedPostgres

_PAUSE = 0.3


class ChaosPostgres(EmbeddedPostgres):
    """The embedded server, as it ships and as durable.

    Making and starting one blocks: use a thread.
    """

    async def shut_down(self) -> None:
        """Stop in order (PostgreSQL's fast shutdown): transactions are rolled back, everything is written."""
        await asyncio.to_thread(self._server.stop)

    async def kill(self) -> None:
        """End all of its processes at once, wherever they are."""
        info = self._server.get_postmaster_info()
        postmaster = psutil.Process(info.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while any(map(_lives, processes)):
            await asyncio.sleep(_PAUSE)
        # Where nobody fetches dead processes, these files would say that it still runs.
        (self._server.pgdata / "postmaster.pid").unlink(missing_ok=True)
        if info.socket_dir is not None:
            (info.socket_dir / f".s.PGSQL.{info.port}.lock").unlink(missing_ok=True)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
