"""Connection of aioapns's pool with the relay's own codec: `Wire` decides, this module moves octets and keeps time.

aioapns creates a connection through `pool.protocol_class` and uses `is_busy`, `close` and `on_connection_lost`. Senders
use `submit`, which returns one future for any number of batches. The connection never sends a push again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from aioapns.connection import APNsTLSClientProtocol, AuthorizationHeaderProvider

from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.provider_token import ProviderToken
from relay.apns.streams import (
    ConnectionOpened,
    ConnectionUnusable,
    Event,
    Flight,
    GoAwayReceived,
    TokenUpdatesLimited,
)
from relay.apns.wire import Phase, Wire
from relay.core.delivery.sending import SendBatch
from relay.telemetry.logs import get_logger

logger = get_logger(__name__)

CHUNK_BYTES: Final = 256 * 1024
"""Approximate size of one write to the transport. It bounds memory, and the time that other connections wait."""
_PING_OPAQUE: Final = b"push-rel"


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals of a connection, in seconds."""

    connect: float = 10.0
    """Limit from the name look-up to the server's first SETTINGS."""
    response: float = 30.0
    """Limit from sending a push to its answer; also for a queue that does not move."""
    quiet: float = 10.0
    """Silence of the server, while pushes wait for answers, until a PING is sent."""
    idle: float = 3_600.0
    """Silence until a PING while no push waits (Apple: check an idle connection about every hour)."""
    pong: float = 10.0
    """Limit from a PING to any octet of the server; after that the connection is dead."""
    drain: float = 5.0
    """Limit for outstanding answers when a connection is closed in order."""
    tick: float = 1.0
    """Interval of the checks of all these limits."""


class Submission:
    """A call of `submit`. `done` is set when the last push of its batches has ended."""

    __slots__ = ("done", "flights", "left")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.flights: list[Flight] = []
        self.left = 0


class ApnsConnection(APNsTLSClientProtocol):
    """A connection to APNs, from TLS to its loss."""

    timing: ClassVar[Timing] = Timing()

    def __init__(
        self,
        apns_topic: str,
        loop: asyncio.AbstractEventLoop | None = None,
        on_connection_lost: Callable[[Any], None] | None = None,
        auth_provider: AuthorizationHeaderProvider | None = None,
    ) -> None:
        # aioapns's __init__ is not called: it builds the HTTP/2 state that `Wire` replaces.
        self.apns_topic = apns_topic
        self.loop = loop or asyncio.get_running_loop()
        self.on_connection_lost = on_connection_lost  # type: ignore[assignment]  # aioapns's type is NoReturn
        self.auth_provider = auth_provider
        self.transport: asyncio.Transport | None = None
        self.inactivity_timer = None

        port = "" if self.APNS_PORT == 443 else f":{self.APNS_PORT}"
        self._wire = Wire(f"{self.APNS_SERVER}{port}", one_first=auth_provider is not None)
        self._opened: asyncio.Future[None] = self.loop.create_future()
        self._lost: asyncio.Future[None] = self.loop.create_future()
        self._paused = False
        self._pump_due = False
        # time
        self._timer: asyncio.TimerHandle | None = None
        self._received_at = self._moved_at = self.loop.time()
        self._pinged_at: float | None = None
        self._marks: deque[tuple[float, int]] = deque()
        """(time, id of the next stream at that time), one per tick."""

    def __repr__(self) -> str:
        wire = self._wire
        return f"<ApnsConnection {wire.phase.value}, {wire.in_flight} in flight, {wire.queued} queued>"

    # For the pool.

    @property
    def usable(self) -> bool:
        """True while the connection takes pushes: it is neither draining nor closing."""
        transport = self.transport
        return (
            self._wire.phase in (Phase.OPENING, Phase.OPEN)
            and transport is not None
            and not transport.is_closing()
        )

    @property
    def load(self) -> int:
        """Number of pushes that have not ended."""
        return self._wire.queued + self._wire.in_flight

    @property
    def streams(self) -> int:
        """Number of pushes that wait for their answer."""
        return self._wire.in_flight

    @property
    def granted(self) -> int | None:
        """Concurrent streams in the server's SETTINGS; None if they name no number."""
        return self._wire.granted

    @property
    def is_busy(self) -> bool:
        """True if it is not usable, or has as many pushes as the server allows at once."""
        return not self.usable or self.load >= self._wire.capacity

    async def send_notification(self, request: Any) -> Any:
        """Raise NotImplementedError: aioapns's pool would silently send a push again. Use `submit`."""
        raise NotImplementedError

    async def opened(self) -> None:
        """Wait for the server's first SETTINGS. Raises ConnectionError if the connection ends before."""
        await asyncio.shield(self._opened)

    async def lost(self) -> None:
        """Wait for the end of the connection."""
        await asyncio.shield(self._lost)

    def submit(self, batches: Sequence[SendBatch], authorization: str = "") -> Submission:
        """Send batches and return a submission whose `done` is set when every push has ended.

        `authorization` is the value of that header, "" with a certificate. A caller that stops waiting calls
        `withdraw`. Never raises.
        """
        submission = Submission(self.loop.create_future())
        header = authorization.encode("ascii")
        submit, flights = self._wire.submit, submission.flights
        for batch in batches:
            flight = submit(batch, header, submission)
            if flight is not None:
                flights.append(flight)
        submission.left = len(flights)
        if flights:
            self._pump_soon()
            self._schedule_tick()
        else:
            submission.done.set_result(None)
        return submission

    def withdraw(self, submission: Submission) -> None:
        """Stop a submission: queued pushes end as NOT_SENT, answers to the others are ignored."""
        for flight in submission.flights:
            self._wire.withdraw(flight)
        self._handle(self._wire.events())

    def drain(self, reason: str) -> None:
        """Take no more pushes, end queued pushes as NOT_SENT, and close once outstanding answers have arrived."""
        self._wire.drain(reason)
        self._process_change()

    def close(self) -> None:
        """Close now: pushes in flight end as UNKNOWN "ConnectionClosed"."""
        self._fail("ConnectionClosed")

    async def aclose(self, reason: str) -> None:
        """Drain for `timing.drain` seconds at most, then close."""
        self.drain(reason)
        try:
            async with asyncio.timeout(self.timing.drain):
                await self.lost()
        except TimeoutError:
            self.close()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface."""
        self.transport = cast(asyncio.Transport, transport)
        self._schedule_tick()
        self._pump()

    def data_received(self, data: bytes) -> None:
        """Process octets of the server; close on a violation of HTTP/2."""
        self._received_at = self.loop.time()
        self._pinged_at = None
        try:
            self._wire.receive(data)
        except ProtocolError as error:
            logger.warning("APNs broke HTTP/2", error=str(error))
            self._fail("ProtocolError", error.code)
            return
        self._process_change()

    def pause_writing(self) -> None:
        """Stop writing: the transport's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Continue writing."""
        self._paused = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every remaining push: the socket is closed."""
        self._wire.close("ConnectionLost")
        self._handle(self._wire.events())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._opened.done():
            self._opened.set_exception(ConnectionResetError("closed before the first SETTINGS"))
            self._opened.exception()  # retrieved here, because it may have no waiter
        self._lost.set_result(None)
        if self.on_connection_lost is not None:
            self.on_connection_lost(self)

    # Octets out, events in.

    def _pump_soon(self) -> None:
        """Write once for all submissions in this turn of the loop."""
        if not self._pump_due:
            self._pump_due = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        transport = self.transport
        while not self._paused and transport is not None and not transport.is_closing():
            chunk = self._wire.send(CHUNK_BYTES)
            if not chunk:
                break
            transport.write(chunk)

    def _process_change(self) -> None:
        """Handle events, write, and close if the connection has drained."""
        self._handle(self._wire.events())
        self._pump()
        if self._wire.phase is Phase.DRAINING:  # `send` starts it when the stream ids are used up
            self._handle(self._wire.events())
            if self._wire.finished:
                self._fail(self._wire.end_reason)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if type(event) is Flight:
                submission = cast(Submission, event.tag)
                submission.left -= 1
                if not submission.left:
                    submission.flights.clear()  # breaks the reference cycle, so that both are freed now
                    if not submission.done.done():
                        submission.done.set_result(None)
            elif isinstance(event, ConnectionOpened):
                self._opened.set_result(None)
            elif isinstance(event, GoAwayReceived):
                logger.info("APNs says GOAWAY", code=event.code, reason=event.reason)
            elif isinstance(event, ConnectionUnusable):
                if self.usable:  # logged once: later answers may have this reason too
                    logger.info("an APNs connection is of no more use", reason=event.reason)
                if event.reason == "ExpiredProviderToken" and isinstance(self.auth_provider, ProviderToken):
                    self.auth_provider.invalidate(event.authorization.decode())
                self._wire.drain(event.reason)
                self._handle(self._wire.events())
            elif isinstance(event, TokenUpdatesLimited) and isinstance(self.auth_provider, ProviderToken):
                self.auth_provider.hold()

    def _fail(self, reason: str, code: ErrorCode = ErrorCode.NO_ERROR, *, abort: bool = False) -> None:
        """End every push, send GOAWAY, and close; `abort` closes without GOAWAY, for a dead peer."""
        self._wire.close(reason, code)
        self._handle(self._wire.events())
        transport = self.transport
        if transport is None:
            return
        if abort:
            transport.abort()
        elif not transport.is_closing():
            transport.write(self._wire.send(0))
            transport.close()
            # A peer that does not read would keep the transport in closing for ever.
            self.loop.call_later(self.timing.drain, transport.abort)

    # Time.

    def _schedule_tick(self) -> None:
        """Schedule a tick: soon while pushes wait, else when the next PING is due."""
        if self._wire.phase is Phase.CLOSED:
            return
        busy = self._wire.in_flight or self._wire.queued or self._pinged_at is not None
        delay = self.timing.tick if busy else max(self.timing.tick, self.timing.idle - self._silence())
        when = self.loop.time() + delay
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(when, self._tick)

    def _silence(self) -> float:
        return self.loop.time() - self._received_at

    def _tick(self) -> None:
        self._timer = None
        wire, timing, now = self._wire, self.timing, self.loop.time()
        if wire.phase is Phase.CLOSED:
            return
        # Late answers. A mark holds the stream ids that existed at its time, so nothing is stored per push.
        previous = self._marks[-1][1] if self._marks else 1
        if wire.next_stream_id != previous or not wire.queued:
            self._moved_at = now
        self._marks.append((now, wire.next_stream_id))
        expired = 0
        while self._marks and self._marks[0][0] <= now - timing.response:
            expired = self._marks.popleft()[1]
        if expired:
            wire.expire(expired)
        # A queue that does not move: no streams granted, no window, or a peer that does not read.
        if wire.queued and now - self._moved_at >= timing.response:
            wire.drain("Stalled")
        # A silent peer.
        if self._pinged_at is not None:
            if now - self._pinged_at >= timing.pong:
                self._fail("PingTimeout", abort=True)
                return
        elif self._silence() >= (timing.quiet if wire.in_flight else timing.idle):
            self._pinged_at = now
            wire.ping(_PING_OPAQUE)
        self._process_change()
        self._schedule_tick()
