"""One of the two APNs servers, production or sandbox: accepts connections and looks after them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl

from .checks import Peer, Request
from .connection import Connection
from .limits import Limits
from .registry import Environment
from .service import Reply, Service
from .statistics import Statistics

SWEEP_SECONDS = 5.0
HANDSHAKE_SECONDS = 10.0


class Listener:
    """Serves one environment. `connections` are the open ones, for whoever wants to disturb them."""

    def __init__(
        self, environment: Environment, service: Service, statistics: Statistics, limits: Limits
    ) -> None:
        self.environment = environment
        self.limits = limits
        self.statistics = statistics
        self.connections: set[Connection] = set()
        self.port = 0
        self._service = service
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._all_closed = asyncio.Event()

    async def start(self, host: str, port: int, context: ssl.SSLContext, *, fallback: bool) -> None:
        """Listen on host and port (0: any free one; with `fallback` also if the port is taken)."""
        loop = asyncio.get_running_loop()

        async def listen(port: int) -> asyncio.Server:
            return await loop.create_server(
                lambda: Connection(self),
                host,
                port,
                ssl=context,
                backlog=1024,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=1.0,
            )

        try:
            self._server = await listen(port)
        except OSError as error:
            if not (fallback and port and error.errno == errno.EADDRINUSE):
                raise
            self._server = await listen(0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, grace_seconds: float) -> None:
        """Take no more connections, send GOAWAY to the open ones, let their streams finish, hang up."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.goaway(reason="Shutdown")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._wait_closed()
        for connection in list(self.connections):
            connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._wait_closed()

    # -- what connections ask --

    def opened(self, connection: Connection) -> bool:
        """Admit a connection; False when there are too many."""
        self.statistics.connections += 1
        self.statistics.open_connections += 1
        self.connections.add(connection)
        self._all_closed.clear()
        return len(self.connections) <= self.limits.max_connections

    def closed(self, connection: Connection) -> None:
        """The connection is gone."""
        self.statistics.open_connections -= 1
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()

    def reply(self, request: Request, peer: Peer) -> Reply:
        """The reply to a complete request."""
        return self._service.reply(request, peer, self.environment)

    async def _wait_closed(self) -> None:
        while self.connections:
            await self._all_closed.wait()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for connection in list(self.connections):
                connection.sweep(loop.time())
