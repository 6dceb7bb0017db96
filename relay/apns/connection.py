"""A connection of aioapns's pool that speaks through our codec: `Wire` decides, this class moves octets and
keeps time.

aioapns makes one through `pool.protocol_class` and knows `is_busy`, `close` and `on_connection_lost`. Whoever
sends uses `submit`: one future for any number of batches. The connection never sends anything again.
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
from relay.apns.streams import Event, Flight, GoingAway, Opened, TokenHeld, Wedged
from relay.apns.wire import Phase, Wire
from relay.core.delivery.sending import SendBatch
from relay.telemetry.logs import get_logger

logger = get_logger(__name__)

CHUNK: Final = 256 * 1024
"""Octets handed to the transport in one write, about: bounds memory, and how long others wait."""
_PING: Final = b"push-rel"


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals of a connection, in seconds."""

    connect: float = 10.0
    """From the name to the server's first SETTINGS."""
    response: float = 30.0
    """From a push's leaving to its answer; and for the queue to move at all."""
    quiet: float = 10.0
    """Without a word from the server while pushes wait for answers: then PING."""
    idle: float = 3_600.0
    """The same while none do (Apple: check the health of an idle connection about every hour)."""
    pong: float = 10.0
    """From PING to any word from the server; else the connection is dead."""
    drain: float = 5.0
    """For the answers still out when a connection is closed in order."""
    tick: float = 1.0
    """How often all this is looked at."""


class Submission:
    """One call of `submit`. `done` is set when the last push of its batches has ended."""

    __slots__ = ("done", "flights", "left")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.flights: list[Flight] = []
        self.left = 0


class ApnsConnection(APNsTLSClientProtocol):
    """One connection to APNs, from TLS to its loss."""

    timing: ClassVar[Timing] = Timing()

    def __init__(
        self,
        apns_topic: str,
        loop: asyncio.AbstractEventLoop | None = None,
        on_connection_lost: Callable[[Any], None] | None = None,
        auth_provider: AuthorizationHeaderProvider | None = None,
    ) -> None:
        # Their __init__ is not called: it builds the HTTP/2 state that `Wire` replaces.
        self.apns_topic = apns_topic
        self.loop = loop or asyncio.get_running_loop()
        self.on_connection_lost = on_connection_lost  # type: ignore[assignment]  # theirs says NoReturn
        self.auth_provider = auth_provider
        self.transport: asyncio.Transport | None = None
        self.inactivity_timer = None

        port = "" if self.APNS_PORT == 443 else f":{self.APNS_PORT}"
        self._wire = Wire(f"{self.APNS_SERVER}{port}", one_first=auth_provider is not None)
        self._opened: asyncio.Future[None] = self.loop.create_future()
        self._lost: asyncio.Future[None] = self.loop.create_future()
        self._paused = False
        self._pump_due = False
        # keeping time
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._moved_at = self.loop.time()
        self._pinged_at: float | None = None
        self._marks: deque[tuple[float, int]] = deque()  # (when, id of the next stream then), one per tick

    def __repr__(self) -> str:
        wire = self._wire
        return f"<ApnsConnection {wire.phase.value}, {wire.in_flight} in flight, {wire.queued} queued>"

    # What the pool sees.

    @property
    def usable(self) -> bool:
        """It takes pushes: neither draining nor closing."""
        transport = self.transport
        return (
            self._wire.phase in (Phase.OPENING, Phase.OPEN)
            and transport is not None
            and not transport.is_closing()
        )

    @property
    def load(self) -> int:
        """Pushes in it that have not ended."""
        return self._wire.queued + self._wire.in_flight

    @property
    def streams(self) -> int:
        """Pushes that wait for their answer."""
        return self._wire.in_flight

    @property
    def granted(self) -> int | None:
        """Streams at once that the server's SETTINGS name; None if they name no number."""
        return self._wire.granted

    @property
    def is_busy(self) -> bool:
        """It is not usable, or has as many pushes as the server takes at once."""
        return not self.usable or self.load >= self._wire.capacity

    async def send_notification(self, request: Any) -> Any:
        """Not supported: aioapns's pool would send again behind the caller's back. Use `submit`."""
        raise NotImplementedError

    async def opened(self) -> None:
        """Wait for the server's first SETTINGS. Raises ConnectionError if the connection ends before."""
        await asyncio.shield(self._opened)

    async def lost(self) -> None:
        """Wait for the end of the connection."""
        await asyncio.shield(self._lost)

    def submit(self, batches: Sequence[SendBatch], authorization: str = "") -> Submission:
        """Send batches; `done` is set when each push has ended. `authorization` is that header, "" with a
        certificate.

        Never raises. Whoever stops waiting calls `withdraw`.
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
            self._watch()
        else:
            submission.done.set_result(None)
        return submission

    def withdraw(self, submission: Submission) -> None:
        """Nobody waits for it any more: what has not left ends as NOT_SENT, what has left goes on
        unheeded."""
        for flight in submission.flights:
            self._wire.withdraw(flight)
        self._handle(self._wire.events())

    def drain(self, reason: str) -> None:
        """Take nothing more, end what is queued as NOT_SENT, and close once the answers still out have
        come."""
        self._wire.drain(reason)
        self._after()

    def close(self) -> None:
        """Close now: what is in flight ends as UNKNOWN "ConnectionClosed"."""
        self._fail("ConnectionClosed")

    async def aclose(self, reason: str) -> None:
        """Drain for `timing.drain` seconds at most, then close."""
        self.drain(reason)
        try:
            async with asyncio.timeout(self.timing.drain):
                await self.lost()
        except TimeoutError:
            self.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up: send the preface."""
        self.transport = cast(asyncio.Transport, transport)
        self._watch()
        self._pump()

    def data_received(self, data: bytes) -> None:
        """Octets of the server."""
        self._heard_at = self.loop.time()
        self._pinged_at = None
        try:
            self._wire.receive(data)
        except ProtocolError as error:
            logger.warning("APNs broke HTTP/2", error=str(error))
            self._fail("ProtocolError", error.code)
            return
        self._after()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """It isn't any more."""
        self._paused = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: every push ends here at the latest."""
        self._wire.close("ConnectionLost")
        self._handle(self._wire.events())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._opened.done():
            self._opened.set_exception(ConnectionResetError("closed before the first SETTINGS"))
            self._opened.exception()  # nobody need be waiting
        if not self._lost.done():
            self._lost.set_result(None)
        if self.on_connection_lost is not None:
            self.on_connection_lost(self)

    # Octets out, events in.

    def _pump_soon(self) -> None:
        """Write once for all that is submitted in this turn of the loop."""
        if not self._pump_due:
            self._pump_due = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        transport = self.transport
        while not self._paused and transport is not None and not transport.is_closing():
            chunk = self._wire.send(CHUNK)
            if not chunk:
                break
            transport.write(chunk)

    def _after(self) -> None:
        """The state has changed: tell those who wait, write, and close if that was the end."""
        self._handle(self._wire.events())
        self._pump()
        if self._wire.phase is Phase.DRAINING:  # perhaps since a moment ago: ids are used up in `send`
            self._handle(self._wire.events())
            if self._wire.finished:
                self._fail(self._wire.end_reason)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if type(event) is Flight:
                submission = cast(Submission, event.tag)
                submission.left -= 1
                if not submission.left:
                    submission.flights.clear()  # they know it, and it knows them: that would keep both for long
                    if not submission.done.done():
                        submission.done.set_result(None)
            elif isinstance(event, Opened):
                if not self._opened.done():
                    self._opened.set_result(None)
            elif isinstance(event, GoingAway):
                logger.info("APNs says GOAWAY", code=event.code, reason=event.reason)
            elif isinstance(event, Wedged):
                if self.usable:  # the answers that are still to come may say the same
                    logger.info("an APNs connection is of no more use", reason=event.reason)
                if event.reason == "ExpiredProviderToken" and isinstance(self.auth_provider, ProviderToken):
                    self.auth_provider.invalidate(event.authorization.decode())
                self._wire.drain(event.reason)
                self._handle(self._wire.events())
            elif isinstance(event, TokenHeld) and isinstance(self.auth_provider, ProviderToken):
                self.auth_provider.hold()

    def _fail(self, reason: str, code: ErrorCode = ErrorCode.NO_ERROR, *, abort: bool = False) -> None:
        """End every push, say GOAWAY, and close; `abort` if the peer doesn't listen any more."""
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
            # A peer that doesn't read would keep a closing transport for ever.
            self.loop.call_later(self.timing.drain, transport.abort)

    # Keeping time.

    def _watch(self) -> None:
        """Have a tick come: soon while pushes wait, else when the next PING is due."""
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
        return self.loop.time() - self._heard_at

    def _tick(self) -> None:
        self._timer = None
        wire, timing, now = self._wire, self.timing, self.loop.time()
        if wire.phase is Phase.CLOSED:
            return
        # Answers that are late. A mark says which streams existed when; so nothing is kept per push.
        previous = self._marks[-1][1] if self._marks else 1
        if wire.next_stream_id != previous or not wire.queued:
            self._moved_at = now
        self._marks.append((now, wire.next_stream_id))
        expired = 0
        while self._marks and self._marks[0][0] <= now - timing.response:
            expired = self._marks.popleft()[1]
        if expired:
            wire.expire(expired)
        # A queue that doesn't move: no streams granted, no window given, or nothing read.
        if wire.queued and now - self._moved_at >= timing.response:
            wire.drain("Stalled")
        # A peer that says nothing.
        if self._pinged_at is not None:
            if now - self._pinged_at >= timing.pong:
                self._fail("PingTimeout", abort=True)
                return
        elif self._silence() >= (timing.quiet if wire.in_flight else timing.idle):
            self._pinged_at = now
            wire.ping(_PING)
        self._after()
        self._watch()
