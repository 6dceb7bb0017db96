"""aioapns's pools with our connections, one for each credential that has pushes or connections.

aioapns keeps credential, topic, TLS context and host; this module decides which connection takes a push. A push goes to
the usable connection with the least load. Where there is none it waits in the pool, and the pool asks the process's
`OpeningQueue` for one. After a failed attempt the next one waits: pushes that come meanwhile end at once as NOT_SENT.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aioapns.connection import (
    APNsBaseClientProtocol,
    APNsBaseConnectionPool,
    APNsCertConnectionPool,
    APNsKeyConnectionPool,
)

from relay.apns.addresses import Addresses
from relay.apns.connection import ApnsConnection, Submission, Timing
from relay.apns.connection_cache import ConnectionCache
from relay.apns.errors import CannotSendError, connect_errors, credential_errors
from relay.apns.opening import OpeningQueue
from relay.apns.provider_token import ProviderToken
from relay.apns.streams import not_sent
from relay.apns.timer_wheel import TimerWheel
from relay.core.delivery.sending import Credential, SendBatch
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import APNS_CONNECTS

logger = get_logger(__name__)

BACKOFF_FIRST_SECONDS: Final = 0.5
BACKOFF_MAX_SECONDS: Final = 15.0
"""Seconds after a failed attempt in which the pool makes no other: the first, doubling, and the last."""
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""Network address translation forgets idle connections after some minutes; a probe a minute prevents that."""
_USER_TIMEOUT_MS: Final = 30_000
"""Milliseconds after which sent octets without an acknowledgement end the connection (RFC 5482)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an APNs is. `ca_file`: PEM of the authorities to trust; None for the system's."""

    host: str
    port: int = 443
    ca_file: str | None = None


class Place:
    """What all connections to one endpoint share: addresses, protocol class, TLS context."""

    def __init__(self, endpoint: Endpoint, timing: Timing, wheel: TimerWheel) -> None:
        self.endpoint = endpoint
        self.timing = timing
        self.addresses = Addresses(endpoint.host, endpoint.port)
        self.protocol_class = protocol_class(endpoint, timing, wheel)
        self._context: ssl.SSLContext | None = None

    def shared_context(self) -> ssl.SSLContext:
        """Return the TLS context for keys. A certificate needs one of its own."""
        if self._context is None:
            self._context = tls_context(self.endpoint.ca_file)
        return self._context


@dataclass(frozen=True, slots=True)
class Process:
    """What all pools of a process share."""

    cache: ConnectionCache
    opening: OpeningQueue
    on_empty: Callable[[CredentialPool], None]
    """Called with a pool that has neither connections nor pushes."""


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a client context that offers h2 by ALPN (RFC 9113, 3.2) over TLS 1.2 or later."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def protocol_class(endpoint: Endpoint, timing: Timing, wheel: TimerWheel) -> type[ApnsConnection]:
    """Return the class of connections to that endpoint: aioapns keeps host and port in the class."""
    places = {
        "__slots__": (),
        "APNS_SERVER": endpoint.host,
        "APNS_PORT": endpoint.port,
        "timing": timing,
        "wheel": wheel,
    }
    return type("ApnsConnection", (ApnsConnection,), places)


class CredentialPool(APNsBaseConnectionPool):
    """What both kinds of pool have of ours; a mixin in front of aioapns's class."""

    connections: list[ApnsConnection]  # type: ignore[assignment]
    provider: ProviderToken | None = None
    apns_topic: str
    protocol_class: type[ApnsConnection]

    def adopt(self, credential: Credential, place: Place, process: Process) -> None:
        """Take our parts; aioapns's constructor has run."""
        self.credential_id = credential.credential_id
        self.version = credential.version
        self.protocol_class = place.protocol_class
        self.closed = False
        self._place = place
        self._process = process
        self._waiting: deque[Submission] = deque()
        self._is_opening = False
        self._failures = 0
        self._failed_reason = ""
        self._retry_at = 0.0

    # Sending.

    def submit(self, submission: Submission) -> None:
        """Send the batches of `submission`, now or once there is a connection. Without one, all end as NOT_SENT."""
        if self.closed:
            submission.refuse("Closed")
        elif usable := [connection for connection in self.connections if connection.usable]:
            self._start(submission, usable)
        elif self.loop.time() < self._retry_at:
            submission.refuse(self._failed_reason)
        else:
            self._waiting.append(submission)
            self._request_connection(urgent=submission.urgent)

    def withdraw(self, submission: Submission) -> None:
        """End as NOT_SENT "Cancelled" what has not left. The answers of what has left are ignored."""
        if submission in self._waiting:
            self._waiting.remove(submission)
            submission.refuse("Cancelled")
        else:
            submission.withdraw()

    def _start(self, submission: Submission, usable: list[ApnsConnection]) -> None:
        """Spread the batches over the connections by load, and ask for another connection if all are busy."""
        try:
            authorization = self.provider.get_header() if self.provider is not None else ""
        except CannotSendError as error:
            submission.refuse(error.reason)
            return
        if len(usable) == 1:
            submission.start([(usable[0], submission.batches)], authorization)
        else:
            shares: list[list[SendBatch]] = [[] for _ in usable]
            loads = [connection.load for connection in usable]
            for batch in submission.batches:
                least = loads.index(min(loads))
                shares[least].append(batch)
                loads[least] += len(batch)
            submission.start(list(zip(usable, shares, strict=True)), authorization)
        may_grow = len(usable) < self.max_connections and self.loop.time() >= self._retry_at
        if may_grow and all(connection.is_busy for connection in usable):
            self._request_connection(urgent=False)

    # Connections.

    def discard_connection(self, connection: APNsBaseClientProtocol) -> None:
        """Forget a connection that is gone, also one that was never in use."""
        if not isinstance(connection, ApnsConnection):  # aioapns's signature is wider
            return
        self._process.cache.discard(connection)
        if connection in self.connections:
            self.connections.remove(connection)
            self._place.addresses.note_closed(connection.address)
            self._check_empty()

    @property
    def has_work(self) -> bool:
        """Whether pushes wait in it, or a connection is being opened."""
        return bool(self._waiting) or self._is_opening

    async def open_connection(self) -> None:
        """Open a connection, and give it what waits. A failure ends what waits. Called by the `OpeningQueue`."""
        if self.closed:
            return
        try:
            try:
                connection = await self.create_connection()
            finally:
                self._is_opening = (
                    False  # before waiting pushes are handed over: they may ask for another one
                )
        except CannotSendError as error:
            APNS_CONNECTS.labels("failed").inc()
            self._failed_reason = error.reason
            backoff = min(BACKOFF_FIRST_SECONDS * 2**self._failures, BACKOFF_MAX_SECONDS)
            self._retry_at = self.loop.time() + backoff
            self._failures = min(self._failures + 1, 10)
            logger.warning("no connection to APNs", host=self.protocol_class.APNS_SERVER, reason=error.reason)
            self._refuse_waiting(error.reason)
        except BaseException:  # cancelled, or a fault of ours: what waits must end
            self._refuse_waiting("Closed")
            raise
        else:
            APNS_CONNECTS.labels("opened").inc()
            self._failures = 0
            self._take_connection(connection)
        finally:
            self._check_empty()

    async def create_connection(self) -> ApnsConnection:
        """Return a new connection whose SETTINGS have come. Raises CannotSendError."""
        with connect_errors():
            async with asyncio.timeout(self._place.timing.connect):
                return await self._connect()

    async def aclose(self, reason: str = "Closed") -> None:
        """Close all connections: queued pushes end as NOT_SENT, those in flight may still be answered for a while."""
        self.closed = True
        self._process.opening.forget(self)
        self._refuse_waiting("Closed")
        await asyncio.gather(*(connection.aclose(reason) for connection in list(self.connections)))

    def _request_connection(self, *, urgent: bool) -> None:
        if not self._is_opening:
            self._is_opening = True
            self._process.opening.request_connection(self, urgent=urgent)
        elif urgent:
            self._process.opening.hurry(self)

    async def _connect(self) -> ApnsConnection:
        addresses = self._place.addresses
        candidates = await addresses.look_up()
        for number, address in enumerate(candidates, start=1):
            connection: ApnsConnection | None = None
            try:
                transport, connection = await self.loop.create_connection(
                    self._new_protocol,
                    host=address,
                    port=self.protocol_class.APNS_PORT,
                    ssl=self.ssl_context,
                    server_hostname=self.protocol_class.APNS_SERVER,
                )
                check_http2(transport)
                await connection.opened()
            except BaseException as error:
                if connection is not None:
                    connection.close()
                addresses.note_failed(address)  # also one that hangs until the time is up
                if not isinstance(error, OSError) or number == len(candidates):
                    raise
            else:
                connection.address = address
                set_socket_options(transport)
                return connection
        raise CannotSendError("ConnectFailed")

    def _new_protocol(self) -> ApnsConnection:
        connection = self.protocol_class(self.apns_topic, self.loop, self.discard_connection, self.provider)
        connection.cache = self._process.cache
        return connection

    def _take_connection(self, connection: ApnsConnection) -> None:
        if self.closed:
            connection.close()
        elif connection.usable:
            self.connections.append(connection)
            self._place.addresses.note_open(connection.address)
            self._process.cache.add(connection)
            waiting, self._waiting = self._waiting, deque()
            for submission in waiting:
                if usable := [one for one in self.connections if one.usable]:
                    self._start(submission, usable)
                else:
                    submission.refuse("ConnectionLost")
            if not connection.load:
                self._process.cache.mark_idle(connection)
        else:
            self._refuse_waiting("ConnectionLost")

    def _refuse_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for submission in waiting:
            submission.refuse(reason)

    def _check_empty(self) -> None:
        if not (self.connections or self.has_work):
            self._process.on_empty(self)


class KeyPool(CredentialPool, APNsKeyConnectionPool):
    """Connections of a .p8 key. Build it inside the running loop. Raises CannotSendError "BadCredential"."""

    def __init__(
        self, credential: Credential, place: Place, process: Process, clock: Callable[[], float]
    ) -> None:
        self.provider = ProviderToken(credential.secret, credential.key_id, credential.team_id, clock)
        APNsKeyConnectionPool.__init__(
            self,
            key=credential.secret,
            key_id=credential.key_id,
            team_id=credential.team_id,
            topic=credential.bundle_id,
            ssl_context=place.shared_context(),
        )
        self.adopt(credential, place, process)


class CertificatePool(CredentialPool, APNsCertConnectionPool):
    """Connections of a certificate. Build it inside the running loop. Raises CannotSendError "BadCredential"."""

    def __init__(self, credential: Credential, place: Place, process: Process) -> None:
        with certificate_file(credential) as path:
            APNsCertConnectionPool.__init__(
                self,
                cert_file=path,
                topic=credential.bundle_id or None,
                ssl_context=tls_context(place.endpoint.ca_file),  # it will hold the certificate
            )
        self.adopt(credential, place, process)


@contextmanager
def certificate_file(credential: Credential) -> Iterator[str]:
    """Write the secret to a private file while the block runs: OpenSSL loads certificates from files.

    Raises CannotSendError "BadCredential", also for OpenSSL's errors.
    """
    if "ENCRYPTED" in credential.secret:  # OpenSSL would ask for a passphrase on the terminal
        raise CannotSendError("BadCredential")
    with credential_errors():
        handle, path = tempfile.mkstemp(suffix=".pem")  # 0600
    try:
        with credential_errors():
            with os.fdopen(handle, "w") as file:
                file.write(credential.secret)
            yield path
    finally:
        os.unlink(path)


def refuse(batches: Sequence[SendBatch], reason: str) -> None:
    """End all pushes of the batches as NOT_SENT."""
    answer = not_sent(reason)
    for batch in batches:
        batch.answers[:] = [answer] * len(batch)


def check_http2(transport: asyncio.BaseTransport) -> None:
    """Check that ALPN chose HTTP/2 (RFC 9113, 3.3). Raises CannotSendError."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None or tls.selected_alpn_protocol() != "h2":
        raise CannotSendError("NoHttp2")


def set_socket_options(transport: asyncio.BaseTransport) -> None:
    """Have the kernel find out when the peer of an idle connection is gone."""
    descriptor = transport.get_extra_info("socket").fileno()
    handle = socket.socket(fileno=descriptor)
    try:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            handle.setsockopt(socket.IPPROTO_TCP, option, value)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    finally:
        handle.detach()
