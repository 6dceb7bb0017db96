"""One of the two APNs servers, production or sandbox: accepts connections and looks after them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl

from .checks import Peer, Request
from .connection import ProviderConnection
from .faults import Faults, ListenerFault
from .limits import StandInLimits
from .registry import Environment
from .replies import Reply
from .statistics import Statistics

SWEEP_SECONDS = 5.0
HANDSHAKE_SECONDS = 10.0
_LISTEN_AGAIN = 10.0
"""Seconds in which a port that was given up is to be had again: somebody may be using it for a moment."""


class Listener:
    """Serves one environment. `connections` are the open ones, for whoever wants to disturb them."""

    def __init__(
        self, environment: Environment, faults: Faults, statistics: Statistics, limits: StandInLimits
    ) -> None:
        self.environment = environment
        self.faults = faults
        self.limits = limits
        self.statistics = statistics
        self.connections: set[ProviderConnection] = set()
        self.port = 0
        self._host = ""
        self._context: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._all_closed = asyncio.Event()

    async def start(self, host: str, port: int, context: ssl.SSLContext, *, fallback: bool) -> None:
        """Listen on host and port (0: any free one; with `fallback` also if the port is taken).

        `context` is this listener's alone.
        """
        context.sni_callback = self._greet
        self._host, self._context = host, context
        try:
            await self._listen(port)
        except OSError as error:
            if not (fallback and port and error.errno == errno.EADDRINUSE):
                raise
            await self._listen(0)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, grace_seconds: float) -> None:
        """Take no more connections, send GOAWAY to the open ones, let their streams finish, hang up."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        self._close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._wait_closed()
        for connection in list(self.connections):
            connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._wait_closed()

    # -- faults --

    async def set_fault(self, fault: ListenerFault) -> None:
        """Switch a fault on."""
        self.faults.set(fault)
        if fault.kind == "one_stream":
            self._limit_streams()
        elif fault.kind == "tls_failure":
            self._send_away()
        elif fault.kind == "connection_refused":
            self._close()

    async def clear_faults(self, kind: str | None = None) -> None:
        """Switch a fault off, or all. Raises OSError if somebody else has taken the port meanwhile."""
        for fault in self.faults.active():
            if kind not in (None, fault.kind):
                continue
            self.faults.clear(fault.kind)
            if fault.kind == "one_stream":
                self._limit_streams()
            elif fault.kind == "connection_refused":
                await self._listen_again()

    # -- what connections ask --

    @property
    def max_streams(self) -> int:
        """Concurrent streams after the first accepted push, now."""
        return 1 if self.faults.is_on("one_stream") else self.limits.max_streams

    def opened(self, connection: ProviderConnection) -> bool:
        """Admit a connection; False when there are too many."""
        self.statistics.connections += 1
        self.statistics.open_connections += 1
        self.connections.add(connection)
        self._all_closed.clear()
        return len(self.connections) <= self.limits.max_connections

    def closed(self, connection: ProviderConnection) -> None:
        """The connection is gone."""
        self.statistics.open_connections -= 1
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()

    def reply(self, request: Request, peer: Peer) -> Reply:
        """The reply to a complete request."""
        return self.faults.reply(request, peer, self.environment)

    # -- opening and closing --

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: ProviderConnection(self),
            self._host,
            port,
            ssl=self._context,
            backlog=1024,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=1.0,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _listen_again(self) -> None:
        deadline = asyncio.get_running_loop().time() + _LISTEN_AGAIN
        while True:
            try:
                await self._listen(self.port)
                return
            except OSError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.05)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._send_away()

    def _send_away(self) -> None:
        for connection in list(self.connections):
            connection.goaway(reason="Shutdown")

    def _limit_streams(self) -> None:
        for connection in list(self.connections):
            connection.limit_streams(self.max_streams)

    def _greet(self, _: object, _name: str | None, _context: object) -> int | None:
        """Called by OpenSSL in each handshake: None goes on with it, an alert ends it."""
        if self.faults.strikes("tls_failure"):
            return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE
        return None

    async def _wait_closed(self) -> None:
        while self.connections:
            await self._all_closed.wait()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for connection in list(self.connections):
                connection.sweep(loop.time())
