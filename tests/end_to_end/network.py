"""A network between the relay and its database that a test can break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Network:
    """A TCP port that forwards to the Unix socket of a PostgreSQL. `url` is the database behind it."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._socket = Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._port = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        user = self._parts.username or "postgres"
        return urlunsplit(("postgresql", f"{user}@127.0.0.1:{self._port}", self._parts.path, "", ""))

    async def up(self) -> None:
        """Accept connections and forward data."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Abort all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Keep and accept connections, but forward no data."""
        self._flows.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):
                while data := await reader.read(65_536):
                    await self._flows.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()


@asynccontextmanager
async def network_to(database_url: str) -> AsyncIterator[Network]:
    """Open a network that is up; take it down at the end."""
    network = Network(database_url)
    await network.up()
    try:
        yield network
    finally:
        network._flows.set()
        await network.down()
