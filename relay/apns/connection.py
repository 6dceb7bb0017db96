"""A connection of aioapns's pool that speaks through our codec: `Wire` decides, this class moves octets and keeps time.

aioapns makes one through `pool.protocol_class` and knows `is_busy`, `close` and `on_connection_lost`. Senders use
`Submission.start`: one callback for any number of batches. The connection never sends anything again.

There may be ten thousand connections in a process, so one without pushes holds no task, no timer of its own and no
buffers: its deadline (the next PING) is in the process's `TimerWheel`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, cast

from aioapns.connection import APNsTLSClientProtocol, AuthorizationHeaderProvider

from relay.apns.connection_cache import ConnectionCache
from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.provider_token import ProviderToken
from relay.apns.streams import (
    ConnectionOpened,
    ConnectionUnusable,
    Event,
    Flight,
    GoAwayReceived,
    TokenUpdatesLimited,
    not_sent,
)
from relay.apns.timer_wheel import TimerWheel
from relay.apns.wire import Phase, Wire
from relay.core.delivery.sending import SendBatch
from relay.telemetry.logs import get_logger

logger = get_logger(__name__)

CHUNK_BYTES: Final = 256 * 1024
"""Approximate size of one write to the transport. It bounds memory, and the time that other connections wait."""
SMALL_CHUNK_BYTES: Final = 16 * 1024
"""The same while few pushes wait: OpenSSL keeps a buffer as large as the largest write, for each connection."""
_SMALL_QUEUE: Final = 500
"""Pushes in the queue up to which writes are small."""
_PING: Final = b"push-rel"
_IDLE_SPREAD: Final = 0.1
"""The share of `Timing.idle` by which PINGs of idle connections are spread."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals of a connection, in seconds."""

    connect: float = 10.0
    """From the name to the server's first SETTINGS."""
    response: float = 30.0
    """From a push's leaving to its answer; and for the queue to move at all."""
    quiet: float = 10.0
    """Without an octet from the server while pushes wait for answers: then PING."""
    idle: float = 3_600.0
    """Without an octet from the server while none do: then PING (Apple: check an idle connection about every hour)."""
    pong: float = 10.0
    """From PING to any octet from the server; else the connection is dead."""
    drain: float = 5.0
    """For the answers still out when a connection is closed in order."""
    tick: float = 1.0
    """The granularity of all these, in the timer wheel."""


class SubmissionHolder(Protocol):
    """A pool that a submission was handed to."""

    def withdraw(self, submission: Submission) -> None:
        """End as NOT_SENT "Cancelled" what has not left. The answers of what has left are ignored."""


class Submission:
    """Batches on their way through one pool. `on_done` is called once, when the last push of them has ended."""

    __slots__ = ("batches", "left", "on_done", "parts", "pool", "urgent")

    def __init__(
        self,
        batches: Sequence[SendBatch],
        on_done: Callable[[], None],
        *,
        urgent: bool = False,
    ) -> None:
        self.batches = batches
        self.on_done = on_done
        self.urgent = urgent
        self.pool: SubmissionHolder | None = None
        self.parts: list[tuple[ApnsConnection, Flight]] = []
        self.left = 0
        """Flights that have not ended."""

    def start(self, shares: Sequence[tuple[ApnsConnection, Sequence[SendBatch]]], authorization: str) -> None:
        """Hand each connection its share. `authorization` is that header, "" with a certificate. Never raises."""
        header = authorization.encode("ascii")
        for connection, batches in shares:
            connection.take(self, batches, header)
        if not self.left:
            self.on_done()

    def refuse(self, reason: str) -> None:
        """End all pushes as NOT_SENT: none has left."""
        answer = not_sent(reason)
        for batch in self.batches:
            batch.answers[:] = [answer] * len(batch)
        self.on_done()

    def withdraw(self) -> None:
        """End as NOT_SENT "Cancelled" what has not left. The answers of what has left are ignored."""
        for connection, flight in list(self.parts):
            connection.withdraw(flight)

    def note_end(self) -> None:
        """Count a flight that has ended."""
        self.left -= 1
        if not self.left:
            self.parts.clear()  # flights and submission refer to each other: the cycle would keep both for long
            self.on_done()


class ApnsConnection(APNsTLSClientProtocol):
    """One connection to APNs, from TLS to its loss."""

    timing: ClassVar[Timing] = Timing()
    wheel: ClassVar[TimerWheel]

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
        self.on_connection_lost = on_connection_lost  # type: ignore[assignment]  # theirs says NoReturn
        self.auth_provider = auth_provider
        self.transport: asyncio.Transport | None = None
        # what the pool notes
        self.cache: ConnectionCache | None = None
        self.address = ""
        self.evicted = False

        port = "" if self.APNS_PORT == 443 else f":{self.APNS_PORT}"
        self._wire = Wire(f"{self.APNS_SERVER}{port}", one_first=auth_provider is not None)
        self._has_opened = False
        self._is_lost = False
        self._waiter: asyncio.Future[None] | None = None
        """Of `opened` or `lost`: a connection has one at a time."""
        self._paused = False
        self._pump_due = False
        # keeping time
        self.wheel_slot: int | None = None
        self._heard_at = self._moved_at = self.loop.time()
        self._pinged_at: float | None = None
        self._marks: deque[tuple[float, int]] | None = None
        """(when, id of the next stream then), one per look, while pushes are in flight."""
        self._abort_at: float | None = None
        """When a transport that is closing is given up."""

    def __repr__(self) -> str:
        wire = self._wire
        return f"<ApnsConnection {wire.phase.value}, {wire.in_flight} in flight, {wire.queued} queued>"

    # What the pool sees.

    @property
    def usable(self) -> bool:
        """Whether it takes pushes: it is neither draining nor closing."""
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
        """Concurrent streams that the server's SETTINGS name; None if they name no number."""
        return self._wire.granted

    @property
    def is_busy(self) -> bool:
        """Whether it is not usable, or has as many pushes as the server takes at once."""
        return not self.usable or self.load >= self._wire.capacity

    async def send_notification(self, request: Any) -> Any:
        """Not supported: aioapns's pool would send again behind the caller's back. Use `Submission.start`."""
        raise NotImplementedError

    async def opened(self) -> None:
        """Wait for the server's first SETTINGS. Raises ConnectionError if the connection ends before."""
        if not self._has_opened and not self._is_lost:
            self._waiter = self.loop.create_future()
            await self._waiter
            self._waiter = None
        if not self._has_opened:
            raise ConnectionResetError("closed before the first SETTINGS")

    async def lost(self) -> None:
        """Wait for the end of the connection."""
        if not self._is_lost:
            self._waiter = self.loop.create_future()
            await self._waiter
            self._waiter = None

    def take(self, submission: Submission, batches: Sequence[SendBatch], authorization: bytes) -> None:
        """Queue batches of a submission. `authorization` is that header, b"" with a certificate. Never raises."""
        for batch in batches:
            flight = self._wire.submit(batch, authorization, submission)
            if flight is not None:
                submission.parts.append((self, flight))
                submission.left += 1
                self._pump_soon()
        if self._pump_due:
            if self.cache is not None:
                self.cache.mark_busy(self)
            if self._marks is None:
                self._moved_at = self.loop.time()
            self.wheel.set_deadline_at_latest(self, self.loop.time() + self.timing.tick)

    def withdraw(self, flight: Flight) -> None:
        """End as NOT_SENT what has not left of a flight. What has left goes on, and its answers are ignored."""
        self._wire.withdraw(flight)
        self._handle(self._wire.events())

    def drain(self, reason: str) -> None:
        """Take nothing more, end as NOT_SENT what is queued, and close once the answers still out have come."""
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
        self._set_deadline()
        self._pump()

    def data_received(self, data: bytes) -> None:
        """Take octets of the server."""
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
        """The transport's buffer has room again."""
        self._paused = False
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: every push ends here at the latest."""
        self._is_lost = True
        self._wire.close("ConnectionLost")
        self._handle(self._wire.events())
        self.wheel.remove(self)
        self._wake()
        if self.on_connection_lost is not None:
            self.on_connection_lost(self)

    # Octets out, events in.

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pump_soon(self) -> None:
        """Write once for all that is submitted in this turn of the loop."""
        if not self._pump_due:
            self._pump_due = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        transport = self.transport
        size = SMALL_CHUNK_BYTES if self._wire.queued <= _SMALL_QUEUE else CHUNK_BYTES
        while not self._paused and transport is not None and not transport.is_closing():
            chunk = self._wire.send(size)
            if not chunk:
                break
            transport.write(chunk)

    def _after(self) -> None:
        """Act on a changed state: call back, write, and close if that was the end."""
        wire = self._wire
        self._handle(wire.events())
        if wire.has_output:
            self._pump()
        if wire.phase is Phase.DRAINING:  # perhaps since a moment ago: ids are used up in `send`
            self._handle(wire.events())
            if wire.finished:
                self._fail(wire.end_reason)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if type(event) is Flight:
                cast(Submission, event.tag).note_end()
                if not self._wire.load:
                    self._rest()
            elif isinstance(event, ConnectionOpened):
                self._has_opened = True
                self._wake()
            elif isinstance(event, GoAwayReceived):
                logger.info("APNs says GOAWAY", code=event.code, reason=event.reason)
            elif isinstance(event, ConnectionUnusable):
                if self.usable:  # the answers that are still to come may say the same
                    logger.info("an APNs connection is of no more use", reason=event.reason)
                if event.reason == "ExpiredProviderToken" and isinstance(self.auth_provider, ProviderToken):
                    self.auth_provider.invalidate(event.authorization.decode())
                self._wire.drain(event.reason)
                self._handle(self._wire.events())
            elif isinstance(event, TokenUpdatesLimited) and isinstance(self.auth_provider, ProviderToken):
                self.auth_provider.hold()

    def _rest(self) -> None:
        """The last push has ended: hold no buffers, and be the most recently used one of those that may be closed."""
        self._wire.rest()
        self._marks = None
        if self.usable:
            if self.cache is not None:
                self.cache.mark_idle(self)
            self._set_deadline()

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
            self._abort_at = self.loop.time() + self.timing.drain
            self.wheel.set_deadline(self, self._abort_at)

    # Keeping time.

    def _set_deadline(self) -> None:
        """Have `on_deadline` called: soon while pushes wait, else when the next PING is due."""
        if self._wire.phase is Phase.CLOSED:
            return
        now = self.loop.time()
        if self._wire.load or self._pinged_at is not None:
            when = now + self.timing.tick
        else:
            spread = 1 - _IDLE_SPREAD * (id(self) >> 4 & 0xFF) / 0xFF
            when = max(now + self.timing.tick, self._heard_at + self.timing.idle * spread)
        self.wheel.set_deadline(self, when)

    def on_deadline(self) -> None:
        """Look at all deadlines. Called by the wheel."""
        wire, timing, now = self._wire, self.timing, self.loop.time()
        if wire.phase is Phase.CLOSED:
            if self._abort_at is not None and self.transport is not None and not self._is_lost:
                self.transport.abort()
            return
        if wire.load:
            self._expire(now)
        # A peer that says nothing.
        if self._pinged_at is not None:
            if now - self._pinged_at >= timing.pong:
                self._fail("PingTimeout", abort=True)
                return
        else:
            patience = timing.quiet if wire.in_flight else timing.idle * (1 - _IDLE_SPREAD)
            if now - self._heard_at >= patience:
                self._pinged_at = now
                wire.ping(_PING)
        self._after()
        self._set_deadline()

    def _expire(self, now: float) -> None:
        """End the pushes whose answer is late, and the queue if it does not move."""
        wire, timing = self._wire, self.timing
        # A mark says which streams existed when; so nothing is kept per push.
        if self._marks is None:
            self._marks = deque()
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
