"""aioapns's pools with our connections: they own credential, topic, TLS context and host; we choose and grow.

A push goes to the usable connection with the least load. When all are busy and there may be more, another one
is opened in the background; nobody waits for it who has one already. Apple takes churn for an attack, so
connections stay open, and after a failed attempt the next one waits: what comes meanwhile is refused at once,
as NOT_SENT.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from aioapns.connection import (
    APNsBaseClientProtocol,
    APNsBaseConnectionPool,
    APNsCertConnectionPool,
    APNsKeyConnectionPool,
)

from relay.apns.connection import ApnsConnection, Submission, Timing
from relay.apns.errors import CannotSendError, connect_errors, credential_errors
from relay.apns.provider_token import ProviderToken
from relay.apns.streams import not_sent
from relay.core.delivery.sending import Credential, SendBatch
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import APNS_CONNECTS

logger = get_logger(__name__)

BACKOFF_FIRST: Final = 0.5
BACKOFF_MAX: Final = 15.0
"""Seconds after a failed attempt in which no other is made: the first, doubling, and the last."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an APNs is. `ca_file`: PEM of the authorities to trust; None for the system's."""

    host: str
    port: int = 443
    ca_file: str | None = None


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A client context that offers h2 by ALPN (RFC 9113, 3.2) over TLS 1.2 or later."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def protocol_class(endpoint: Endpoint, timing: Timing) -> type[ApnsConnection]:
    """What connections to that endpoint are made of: aioapns keeps host and port in the class."""
    places = {"APNS_SERVER": endpoint.host, "APNS_PORT": endpoint.port, "timing": timing}
    return type("ApnsConnection", (ApnsConnection,), places)


class _Pool(APNsBaseConnectionPool):
    """What both kinds of pool have of ours; a mixin in front of aioapns's class."""

    connections: list[ApnsConnection]  # type: ignore[assignment]
    provider: ProviderToken | None = None
    apns_topic: str
    protocol_class: type[ApnsConnection]

    def adopt(self, endpoint: Endpoint, timing: Timing) -> None:
        """Take our protocol class; aioapns's constructor has run."""
        self.protocol_class = protocol_class(endpoint, timing)
        self.timing = timing
        self.closed = False
        self._connecting: asyncio.Task[ApnsConnection] | None = None
        self._failures = 0
        self._failed_reason = ""
        self._retry_at = 0.0

    # Sending.

    async def send(self, batches: Sequence[SendBatch]) -> None:
        """Send all batches. On return every push has ended; NOT_SENT with the reason if there is no
        connection."""
        try:
            authorization = self.provider.get_header() if self.provider is not None else ""
            if not any(connection.usable for connection in self.connections):
                await self._connected()
        except CannotSendError as error:
            refuse(batches, error.reason)
            return
        except asyncio.CancelledError:
            refuse(batches, "Cancelled")
            raise
        submissions = self._submit(batches, authorization)
        if not submissions:
            return
        try:
            # `wait` leaves the futures alone if we are cancelled.
            await asyncio.wait([submission.done for _, submission in submissions])
        except asyncio.CancelledError:
            for connection, submission in submissions:
                connection.withdraw(submission)
            raise

    def _submit(
        self, batches: Sequence[SendBatch], authorization: str
    ) -> list[tuple[ApnsConnection, Submission]]:
        """Spread batches over the connections by load. Nothing is awaited between choosing and submitting."""
        usable = [connection for connection in self.connections if connection.usable]
        if not usable:  # lost in the moment since
            refuse(batches, "Closed" if self.closed else "ConnectionLost")
            return []
        shares: list[list[SendBatch]] = [[] for _ in usable]
        if len(usable) == 1:
            shares[0].extend(batches)
        else:
            loads = [connection.load for connection in usable]
            for batch in batches:
                least = loads.index(min(loads))
                shares[least].append(batch)
                loads[least] += len(batch)
        submissions = [
            (connection, connection.submit(share, authorization))
            for connection, share in zip(usable, shares, strict=True)
            if share
        ]
        may_grow = len(usable) < self.max_connections and self.loop.time() >= self._retry_at
        if may_grow and all(connection.is_busy for connection in usable):
            self._connect()
        return submissions

    # Connections.

    async def acquire(self) -> ApnsConnection:
        """The usable connection with the least load; opens one if there is none. Raises CannotSendError."""
        usable = [connection for connection in self.connections if connection.usable]
        if usable:
            return min(usable, key=lambda connection: connection.load)
        return await self._connected()

    def discard_connection(self, connection: APNsBaseClientProtocol) -> None:
        """A connection was lost, perhaps before it was ours."""
        if connection in self.connections:
            self.connections.remove(connection)

    async def create_connection(self) -> ApnsConnection:
        """A new connection whose SETTINGS have come. Raises CannotSendError."""
        connection: ApnsConnection | None = None
        try:
            with connect_errors():
                async with asyncio.timeout(self.timing.connect):
                    transport, connection = await self.loop.create_connection(
                        self._new_protocol,
                        host=self.protocol_class.APNS_SERVER,
                        port=self.protocol_class.APNS_PORT,
                        ssl=self.ssl_context,
                    )
                    check_http2(transport)
                    await connection.opened()
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return connection

    def _new_protocol(self) -> ApnsConnection:
        return self.protocol_class(self.apns_topic, self.loop, self.discard_connection, self.provider)

    async def _connected(self) -> ApnsConnection:
        """Wait for the attempt under way. Who is cancelled leaves it to the others."""
        attempt = self._connect()
        await asyncio.wait([attempt])
        if attempt.cancelled():  # by `aclose`
            raise CannotSendError("Closed")
        return attempt.result()

    def _connect(self) -> asyncio.Task[ApnsConnection]:
        """The attempt under way, or a new one: all who wait share it."""
        if self._connecting is None or self._connecting.done():
            self._connecting = self.loop.create_task(self._attempt())
            self._connecting.add_done_callback(_retrieve)
        return self._connecting

    async def _attempt(self) -> ApnsConnection:
        if self.closed:
            raise CannotSendError("Closed")
        if self.loop.time() < self._retry_at:
            raise CannotSendError(self._failed_reason)
        try:
            connection = await self.create_connection()
        except CannotSendError as error:
            APNS_CONNECTS.labels("failed").inc()
            self._failed_reason = error.reason
            self._retry_at = self.loop.time() + min(BACKOFF_FIRST * 2**self._failures, BACKOFF_MAX)
            self._failures = min(self._failures + 1, 10)
            logger.warning("no connection to APNs", host=self.protocol_class.APNS_SERVER, reason=error.reason)
            raise
        APNS_CONNECTS.labels("opened").inc()
        self._failures = 0
        if self.closed:
            connection.close()
            raise CannotSendError("Closed")
        if connection.usable:
            self.connections.append(connection)
        return connection

    async def aclose(self, reason: str = "Closed") -> None:
        """Close all connections: queued pushes end as NOT_SENT, those in flight may still be answered for a
        while."""
        self.closed = True
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await asyncio.gather(*(connection.aclose(reason) for connection in list(self.connections)))


class KeyPool(_Pool, APNsKeyConnectionPool):
    """Connections of a .p8 key. Build it inside the running loop. Raises CannotSendError "BadCredential"."""

    def __init__(
        self,
        credential: Credential,
        endpoint: Endpoint,
        context: ssl.SSLContext,
        *,
        clock: Callable[[], float],
        timing: Timing,
        max_connections: int,
    ) -> None:
        self.provider = ProviderToken(credential.secret, credential.key_id, credential.team_id, clock)
        APNsKeyConnectionPool.__init__(
            self,
            key=credential.secret,
            key_id=credential.key_id,
            team_id=credential.team_id,
            topic=credential.bundle_id,
            max_connections=max_connections,
            ssl_context=context,
        )
        self.adopt(endpoint, timing)


class CertificatePool(_Pool, APNsCertConnectionPool):
    """Connections of a certificate. Build it inside the running loop. Raises CannotSendError
    "BadCredential"."""

    def __init__(
        self,
        credential: Credential,
        endpoint: Endpoint,
        context: ssl.SSLContext,
        *,
        timing: Timing,
        max_connections: int,
    ) -> None:
        with certificate_file(credential) as path:
            APNsCertConnectionPool.__init__(
                self,
                cert_file=path,
                topic=credential.bundle_id or None,
                max_connections=max_connections,
                ssl_context=context,
            )
        self.adopt(endpoint, timing)


@contextmanager
def certificate_file(credential: Credential) -> Iterator[str]:
    """A file only we can read, for as long as it takes: OpenSSL loads certificates from files alone.

    Raises CannotSendError "BadCredential", also for what OpenSSL says of it.
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
    """All pushes of the batches end as NOT_SENT."""
    answer = not_sent(reason)
    for batch in batches:
        batch.answers[:] = [answer] * len(batch)


def check_http2(transport: asyncio.BaseTransport) -> None:
    """RFC 9113, 3.3: over TLS, HTTP/2 is what ALPN chose, or it is not spoken. Raises CannotSendError."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None or tls.selected_alpn_protocol() != "h2":
        raise CannotSendError("NoHttp2")


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Perhaps nobody waits for it; its failure has been logged."""
    if not task.cancelled():
        task.exception()
