"""HTTP/2 client for pushes to APNs and nothing else. Octets in, events out; no socket, no clock, no asyncio.

The state of a connection
-------------------------
::

    OPENING ──first SETTINGS──► OPEN ──drain(), GOAWAY, ids used up──► DRAINING
       └──────────────────drain(), GOAWAY──────────────────────────────────▲
    close() leads to CLOSED from anywhere

* OPENING: only the preface is sent. The server's SETTINGS limit the streams; Apple: "never assume". They usually arrive
  with the end of the TLS handshake, so waiting costs no time.
* OPEN: queued pushes become streams as far as SETTINGS and flow control allow.
* DRAINING: no new stream; open streams may still be answered. All queued pushes have ended as NOT_SENT.
* CLOSED: every push has ended.

The state of a push
-------------------
======  ==============================================  ==============================================
state   event                                           next state or fate
======  ==============================================  ==============================================
queued  a stream and windows are free                   open
queued  drain(), close(), withdraw(), GOAWAY            NOT_SENT
open    the answer is complete (END_STREAM)             ANSWERED
open    RST_STREAM REFUSED_STREAM, or GOAWAY below it   NOT_SENT
open    other RST_STREAM, malformed answer,             ANSWERED if its status is known, else UNKNOWN
        expire(), close()
======  ==============================================  ==============================================

Answers are matched by stream id, never by apns-id. `inbound` holds the details of the ends, `outbound` those of the
queue and of flow control, `streams` the state of each push.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from typing import Final

from relay.apns import frames
from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.inbound import RECEIVE_WINDOW_BYTES, Inbound
from relay.apns.outbound import Outbound
from relay.apns.requests import RequestEncoder
from relay.apns.responses import MAX_BLOCK_BYTES, MAX_BODY_BYTES, json_reason
from relay.apns.streams import (
    ConnectionOpened,
    Event,
    Flight,
    GoAwayReceived,
    PingAnswered,
    Streams,
    not_sent,
)
from relay.core.delivery.sending import DELIVERED, SendBatch

DEFAULT_STREAMS: Final = 1_000
"""Concurrent streams if the server's SETTINGS name no number: APNs usually grants this number."""
MAX_STREAMS: Final = 10_000
"""Limit of concurrent streams, even if the server grants more. It bounds memory."""
MAX_CONTROL_BYTES: Final = 65_536
"""Limit of unsent replies (to PING, SETTINGS, …); the connection is closed above it."""

_QUICK: Final = frames.HEADERS << 8 | frames.END_HEADERS | frames.END_STREAM
_STATUS_200: Final = 0x88
_HEAD: Final = struct.Struct(">HBHL").unpack_from
"""A frame's head as (length >> 8, length & 255, type << 8 | flags, stream id)."""


class Phase(enum.Enum):
    """State of a connection; see the module's docstring."""

    OPENING = "opening"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


class Wire:
    """State machine of a connection to APNs. Methods change it; `send` and `events` return the results.

    `authority` is the host, and the port if it is not 443. With `one_first`, a server whose SETTINGS name no number of
    streams gets a single request until it has answered one, as Apple requires with token authentication.
    """

    def __init__(self, authority: str, *, one_first: bool) -> None:
        # the connection
        self.phase = Phase.OPENING
        self.end_reason = ""
        """Reason why it drains or is closed; the `reason` of NOT_SENT answers."""
        self._rest = b""
        self._control = [
            frames.PREFACE,
            frames.settings(
                [
                    (frames.HEADER_TABLE_SIZE, 0),
                    (frames.ENABLE_PUSH, 0),
                    (frames.MAX_HEADER_LIST_SIZE, MAX_BLOCK_BYTES),
                ]
            ),
            frames.window_update(0, RECEIVE_WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES),
        ]
        self._control_size = 0
        self._greeted = False
        # pushes
        self._streams = Streams()
        self._outbound = Outbound(RequestEncoder(authority), self._streams)
        self._granted: int | None = None
        self._one_first = one_first
        # answers
        self._inbound = Inbound(self._streams, self._reply)
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._inbound.on_data,
            frames.HEADERS: self._inbound.on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._inbound.on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._inbound.on_continuation,
        }

    # State.

    @property
    def queued(self) -> int:
        """Number of pushes without a stream."""
        return self._outbound.queued

    @property
    def in_flight(self) -> int:
        """Number of pushes with an open stream."""
        return len(self._streams.open)

    @property
    def load(self) -> int:
        """Pushes that have not ended."""
        return self._outbound.queued + len(self._streams.open)

    @property
    def has_output(self) -> bool:
        """Whether `send` may have something to write."""
        return bool(self._control or self._outbound.queued or self._streams.partial)

    def rest(self) -> None:
        """Let go of what only a connection with pushes needs. Called when `load` is 0."""
        self._outbound.rest()

    @property
    def granted(self) -> int | None:
        """Concurrent streams in the server's SETTINGS; None if they name no number."""
        return self._granted

    @property
    def capacity(self) -> int:
        """Concurrent streams allowed now."""
        if self._granted is not None:
            return min(self._granted, MAX_STREAMS)
        return 1 if self._one_first and not self._inbound.answered else DEFAULT_STREAMS

    @property
    def next_stream_id(self) -> int:
        """The id of the next push to leave; see `expire`."""
        return self._streams.next_id

    @property
    def finished(self) -> bool:
        """True if it drains and its last push has ended: close it."""
        return self.phase is Phase.DRAINING and not self._streams.open

    # Actions.

    def submit(self, batch: SendBatch, authorization: bytes, tag: object = None) -> Flight | None:
        """Queue an unsent batch. Returns None if it ends at once: it is empty, or the connection drains.

        `authorization` is the value of that header, b"" with a certificate. The flight is one of the `events` when its
        last push has ended.
        """
        if self.phase is Phase.DRAINING or self.phase is Phase.CLOSED:
            batch.answers[:] = [not_sent(self.end_reason)] * len(batch)
            return None
        if not len(batch):
            return None
        flight = Flight(batch, authorization, tag)
        self._outbound.add(flight)
        return flight

    def withdraw(self, flight: Flight) -> None:
        """End the queued pushes of a flight as NOT_SENT "Cancelled"; its open streams continue."""
        self._outbound.withdraw(flight, not_sent("Cancelled"))

    def send(self, limit: int) -> bytes:
        """Return the octets to write now, about `limit` octets of pushes at most; b"" if there are none."""
        out, self._control = self._control, []
        self._control_size = 0
        outbound = self._outbound
        if self._streams.partial:
            outbound.send_bodies(out, limit)
        if outbound.queued and self.phase is Phase.OPEN:
            outbound.send_pushes(out, limit, self.capacity)
            if self._streams.next_id > frames.MAX_STREAM_ID:
                self.drain("StreamIdsUsedUp")
        return b"".join(out)

    def ping(self, opaque: bytes) -> None:
        """Send a PING with these eight octets; its answer is a `PingAnswered`."""
        self._control.append(frames.ping(opaque))

    def expire(self, before: int) -> None:
        """End the streams with an id below `before` as UNKNOWN "ResponseTimeout", and cancel them."""
        late = []
        for stream_id in self._streams.open:
            if stream_id >= before:
                break
            late.append(stream_id)
        for stream_id in late:
            self._control.append(frames.reset(stream_id, ErrorCode.CANCEL))
            self._inbound.lose(stream_id, "ResponseTimeout")

    def drain(self, reason: str) -> None:
        """Begin no new stream; queued pushes end as NOT_SENT with that reason."""
        if self.phase is Phase.OPENING or self.phase is Phase.OPEN:
            self.phase = Phase.DRAINING
            self.end_reason = reason
            self._outbound.refuse_all(not_sent(reason))

    def close(self, reason: str, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """End every push: open streams as UNKNOWN, queued pushes as NOT_SENT. `send` then returns only the GOAWAY."""
        self.drain(reason)
        if self.phase is not Phase.CLOSED:
            self.phase = Phase.CLOSED
            for stream_id in list(self._streams.open):
                self._inbound.lose(stream_id, reason)
            self._control = [frames.goaway(code)]

    def events(self) -> list[Event]:
        """Return the events since the last call, in order."""
        return self._streams.take_events()

    def receive(self, octets: bytes) -> None:
        """Process octets of the server, cut anywhere. Raises ProtocolError; then `close` with its code must follow."""
        if self.phase is Phase.CLOSED:
            return
        if self._rest:
            octets = self._rest + octets
        at, size = 0, len(octets)
        streams, unusual, events = self._streams.open, self._streams.unusual, self._streams.events
        quick = self._inbound.quick
        while size - at >= frames.HEAD_BYTES:
            high, low, kind_flags, stream_id = _HEAD(octets, at)
            body = at + frames.HEAD_BYTES
            end = body + (high << 8 | low)
            if kind_flags == _QUICK and quick and body < end <= size and octets[body] == _STATUS_200:
                run = streams.get(stream_id)
                if run is not None and stream_id not in unusual and end - body <= frames.MAX_FRAME_BYTES:
                    # `Streams.end` inlined: nearly all answers take this path.
                    del streams[stream_id]
                    run.answers[(stream_id >> 1) - run.shift] = DELIVERED
                    flight = run.flight
                    flight.left -= 1
                    if not flight.left:
                        events.append(flight)
                    self._inbound.answered = True
                    at = end
                    continue
            if end - body > frames.MAX_FRAME_BYTES:
                raise ProtocolError("frame above the size announced", ErrorCode.FRAME_SIZE_ERROR)
            if not self._greeted and kind_flags != frames.SETTINGS << 8:
                raise ProtocolError("the first frame isn't SETTINGS")
            if end > size:
                break
            self._on_frame(
                kind_flags >> 8, kind_flags & 0xFF, stream_id & frames.MAX_STREAM_ID, octets[body:end]
            )
            at = end
            quick = self._inbound.quick
        self._rest = octets[at:]

    # Frames. A handler gets (flags, stream id, payload).

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self._inbound.expects(kind, stream_id)
        handler = self._handlers.get(kind)
        if handler is not None:  # unknown types are ignored (RFC 9113, 4.1)
            handler(flags, stream_id, payload)

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        if len(payload) < 8:
            raise ProtocolError("GOAWAY too short", ErrorCode.FRAME_SIZE_ERROR)
        reason, _ = json_reason(payload[8 : 8 + MAX_BODY_BYTES])
        label = f"GoAway:{reason}" if reason else "GoAway"
        self.drain(label)
        last = frames.long_at(payload) & frames.MAX_STREAM_ID
        for above in [open_id for open_id in self._streams.open if open_id > last]:
            self._streams.end(above, not_sent(label))
        self._streams.events.append(GoAwayReceived(reason, frames.long_at(payload, 4)))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        if flags & frames.ACK:
            frames.check_size(payload, 0)
            return
        if len(payload) % 6:
            raise ProtocolError("SETTINGS of a bad size", ErrorCode.FRAME_SIZE_ERROR)
        for name, value in frames.read_settings(payload):
            if name == frames.MAX_CONCURRENT_STREAMS:
                self._granted = value
            elif name == frames.INITIAL_WINDOW_SIZE:
                self._outbound.set_stream_window(value)
            elif name == frames.ENABLE_PUSH and value != 0:
                raise ProtocolError("a server enabled push")
            elif name == frames.MAX_FRAME_SIZE and not frames.MAX_FRAME_BYTES <= value < 1 << 24:
                raise ProtocolError("SETTINGS_MAX_FRAME_SIZE out of range")
        self._reply(frames.SETTINGS_ACK)
        if not self._greeted:
            self._greeted = True
            self._streams.events.append(ConnectionOpened())
            if self.phase is Phase.OPENING:
                self.phase = Phase.OPEN

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 4)
        octets = frames.long_at(payload) & frames.MAX_WINDOW_BYTES
        if not stream_id:
            if not octets:
                raise ProtocolError("WINDOW_UPDATE of 0")
            self._outbound.grow_window(octets)
            return
        self._streams.check_begun(stream_id)
        partial = self._streams.partial.get(stream_id)
        if partial is None:  # the body was sent: this window is not needed
            return
        partial.window += octets
        if not octets or partial.window > frames.MAX_WINDOW_BYTES:
            code = ErrorCode.FLOW_CONTROL_ERROR if octets else ErrorCode.PROTOCOL_ERROR
            self._reply(frames.reset(stream_id, code))
            self._inbound.lose(stream_id, "MalformedAnswer")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        frames.check_size(payload, 8)
        if flags & frames.ACK:
            self._streams.events.append(PingAnswered(payload))
        else:
            self._reply(frames.ping(payload, ack=True))

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 5)
        if not stream_id:
            raise ProtocolError("PRIORITY of the connection")

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ProtocolError("PUSH_PROMISE, which we forbade")

    def _reply(self, octets: bytes) -> None:
        """Send a frame that the server caused. Raises ProtocolError if too many wait."""
        self._control.append(octets)
        self._control_size += len(octets)
        if self._control_size > MAX_CONTROL_BYTES:
            raise ProtocolError("too many frames to reply to", ErrorCode.ENHANCE_YOUR_CALM)


def _check_connection(stream_id: int) -> None:
    if stream_id:
        raise ProtocolError("a frame of the connection on a stream")
