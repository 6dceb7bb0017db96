"""A PostgreSQL that can be stopped, killed, and restarted with its data at its address."""

from __future__ import annotations

import asyncio
import contextlib

import psutil

from relay.store.embedded import EmbeddedPostgres

_POLL_SECONDS = 0.3


class ChaosPostgres(EmbeddedPostgres):
    """The embedded server with its settings as shipped, durable.

    Creating and starting one blocks: use a thread.
    """

    async def shut_down(self) -> None:
        """Stop with PostgreSQL's fast shutdown: transactions are rolled back, everything is written."""
        await asyncio.to_thread(self._server.stop)

    async def kill(self) -> None:
        """Kill all of its processes at once, in the middle of their work."""
        info = self._server.get_postmaster_info()
        postmaster = psutil.Process(info.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while any(map(_is_alive, processes)):
            await asyncio.sleep(_POLL_SECONDS)
        # A killed process that its parent has not waited for would, with these files, count as running.
        (self._server.pgdata / "postmaster.pid").unlink(missing_ok=True)
        if info.socket_dir is not None:
            (info.socket_dir / f".s.PGSQL.{info.port}.lock").unlink(missing_ok=True)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
