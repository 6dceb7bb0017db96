"""TCP listener of one APNs server: it accepts connections, limits them, and closes slow or idle ones."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from typing import Final

from .checks import Peer, Request
from .connection import ProviderConnection
from .faults import Faults, ListenerFault
from .limits import StandInLimits
from .registry import Environment
from .replies import Reply
from .statistics import Statistics

SWEEP_SECONDS: Final = 5.0
HANDSHAKE_SECONDS: Final = 10.0
_RELISTEN_SECONDS: Final = 10.0
"""How long to retry a port that was closed: another process may hold it for a moment."""


class Listener:
    """A listener for one environment. `connections` are its open connections."""

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
        """Listen on `host` and `port`. Port 0 takes any free port; with `fallback` a taken port does too.

        `context` must not be shared with another listener.
        """
        context.sni_callback = self._continue_handshake
        self._host, self._context = host, context
        try:
            await self._listen(port)
        except OSError as error:
            if not (fallback and port and error.errno == errno.EADDRINUSE):
                raise
            await self._listen(0)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, grace_seconds: float) -> None:
        """Close the port, send GOAWAY to open connections, give streams `grace_seconds` to finish, then abort."""
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
        """Switch a fault on; it replaces an earlier fault of its kind."""
        self.faults.set(fault)
        if fault.kind == "one_stream":
            self._limit_streams()
        elif fault.kind == "tls_failure":
            self._send_goaways()
        elif fault.kind == "connection_refused":
            self._close()

    async def clear_faults(self, kind: str | None = None) -> None:
        """Switch the fault of that kind off, or (None) all faults. Raises OSError if the port is taken."""
        for fault in self.faults.active():
            if kind not in (None, fault.kind):
                continue
            self.faults.clear(fault.kind)
            if fault.kind == "one_stream":
                self._limit_streams()
            elif fault.kind == "connection_refused":
                await self._listen_again()

    # -- `ConnectionHost` --

    @property
    def max_streams(self) -> int:
        """Concurrent streams that a connection may have after its first accepted push."""
        return 1 if self.faults.is_on("one_stream") else self.limits.max_streams

    def register_connection(self, connection: ProviderConnection) -> bool:
        """Register a new connection. Returns False if there are too many."""
        self.statistics.connections += 1
        self.statistics.open_connections += 1
        self.connections.add(connection)
        self._all_closed.clear()
        return len(self.connections) <= self.limits.max_connections

    def unregister_connection(self, connection: ProviderConnection) -> None:
        """Remove a closed connection."""
        self.statistics.open_connections -= 1
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()

    def reply(self, request: Request, peer: Peer) -> Reply:
        """Return the reply to a complete request."""
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
        deadline = asyncio.get_running_loop().time() + _RELISTEN_SECONDS
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
        self._send_goaways()

    def _send_goaways(self) -> None:
        for connection in list(self.connections):
            connection.goaway(reason="Shutdown")

    def _limit_streams(self) -> None:
        for connection in list(self.connections):
            connection.limit_streams(self.max_streams)

    def _continue_handshake(self, _: object, _name: str | None, _context: object) -> int | None:
        # OpenSSL calls this in each handshake: None continues it, an alert ends it.
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
