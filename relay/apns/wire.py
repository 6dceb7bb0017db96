"""An HTTP/2 client that can do one thing: pushes to APNs. Octets in, events out; no socket, no clock, no
asyncio.

The state of a connection
-------------------------
::

    OPENING ──first SETTINGS──► OPEN ──drain(), GOAWAY, ids used up──► DRAINING
       └──────────────────drain(), GOAWAY──────────────────────────────────▲
    close() leads to CLOSED from anywhere

* OPENING: nothing is sent but our preface. Only the server's SETTINGS say how many streams it takes; Apple:
  "never assume". They usually arrive with the end of the TLS handshake, so that waiting costs nothing.
* OPEN: queued pushes become streams as far as SETTINGS and flow control allow.
* DRAINING: no new stream; those that are open may still be answered. All that was queued has ended as
  NOT_SENT.
* CLOSED: every push has ended.

The state of a push
-------------------
======  ==============================================  ==============================================
state   what happens                                    where it goes
======  ==============================================  ==============================================
queued  a stream and windows are free                   open
queued  drain(), close(), withdraw(), GOAWAY            NOT_SENT
open    the answer is complete (END_STREAM)             ANSWERED
open    RST_STREAM REFUSED_STREAM, or GOAWAY below it   NOT_SENT
open    other RST_STREAM, malformed answer,             ANSWERED if its status is known, else UNKNOWN
        expire(), close()
======  ==============================================  ==============================================

Answers are matched by stream id, never by apns-id. `inbound` has the details of the exits, `outbound` those
of the queue and of flow control, `streams` what is kept about a push.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from typing import Final

from relay.apns import frames
from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.inbound import RECEIVE_WINDOW, Inbound
from relay.apns.outbound import Outbound
from relay.apns.requests import RequestEncoder
from relay.apns.responses import BLOCK_MAX, BODY_MAX, json_reason
from relay.apns.streams import Event, Flight, GoingAway, Opened, Ponged, Streams, not_sent
from relay.core.delivery.sending import DELIVERED, SendBatch

STREAMS_DEFAULT: Final = 1_000
"""Streams at once if the server's SETTINGS name no number: what APNs typically grants."""
STREAMS_MAX: Final = 10_000
"""Streams at once whatever the server grants: bounds our memory."""
CONTROL_MAX: Final = 65_536
"""Octets of replies (to PING, SETTINGS, …) that wait to be sent before the server is cut off."""

_QUICK: Final = frames.HEADERS << 8 | frames.END_HEADERS | frames.END_STREAM
_STATUS_200: Final = 0x88
_HEAD: Final = struct.Struct(">HBHL").unpack_from
"""A frame's head as (length >> 8, length & 255, type << 8 | flags, stream id)."""


class Phase(enum.Enum):
    """See the module's text."""

    OPENING = "opening"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


class Wire:
    """One connection to APNs, as a state machine. Methods change it; `send` and `events` say what came of it.

    `authority` is the host (and port, if not 443). `one_first`: a server whose SETTINGS name no number of
    streams gets one request until it has answered one, as Apple asks with token authentication.
    """

    def __init__(self, authority: str, *, one_first: bool) -> None:
        # the connection
        self.phase = Phase.OPENING
        self.end_reason = ""
        """Why it drains or is closed: the `reason` of NOT_SENT answers."""
        self._rest = b""
        self._control = [
            frames.PREFACE,
            frames.settings(
                [
                    (frames.HEADER_TABLE_SIZE, 0),
                    (frames.ENABLE_PUSH, 0),
                    (frames.MAX_HEADER_LIST_SIZE, BLOCK_MAX),
                ]
            ),
            frames.window_update(0, RECEIVE_WINDOW - frames.WINDOW_DEFAULT),
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

    # What a caller can see.

    @property
    def queued(self) -> int:
        """Pushes that have no stream yet."""
        return self._outbound.queued

    @property
    def in_flight(self) -> int:
        """Pushes begun and not ended."""
        return len(self._streams.open)

    @property
    def granted(self) -> int | None:
        """Streams at once that the server's SETTINGS name; None if they name no number."""
        return self._granted

    @property
    def capacity(self) -> int:
        """Streams allowed at once, now."""
        if self._granted is not None:
            return min(self._granted, STREAMS_MAX)
        return 1 if self._one_first and not self._inbound.answered else STREAMS_DEFAULT

    @property
    def next_stream_id(self) -> int:
        """The id of the next push to leave; see `expire`."""
        return self._streams.next_id

    @property
    def finished(self) -> bool:
        """Draining, and the last push has ended: close it."""
        return self.phase is Phase.DRAINING and not self._streams.open

    # What a caller can do.

    def submit(self, batch: SendBatch, authorization: bytes, tag: object = None) -> Flight | None:
        """Queue a batch that hasn't been sent; None if it has ended at once: it is empty, or we drain.

        `authorization` is the value of that header, b"" with a certificate. The flight is among `events` when
        its last push has ended.
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
        """What is queued of a flight ends as NOT_SENT "Cancelled"; what has left goes on."""
        self._outbound.withdraw(flight, not_sent("Cancelled"))

    def send(self, limit: int) -> bytes:
        """What is to be written now, about `limit` octets of pushes at most; b"" if there is nothing."""
        out, self._control = self._control, []
        self._control_size = 0
        outbound = self._outbound
        if self._streams.partial:
            outbound.send_bodies(out, limit)
        if outbound.queued and self.phase is Phase.OPEN:
            outbound.send_pushes(out, limit, self.capacity)
            if self._streams.next_id > frames.STREAM_ID_MAX:
                self.drain("StreamIdsUsedUp")
        return b"".join(out)

    def ping(self, opaque: bytes) -> None:
        """Have a PING sent with these eight octets; its answer is a `Ponged`."""
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
        """Begin no new stream; what is queued ends as NOT_SENT with that reason."""
        if self.phase is Phase.OPENING or self.phase is Phase.OPEN:
            self.phase = Phase.DRAINING
            self.end_reason = reason
            self._outbound.refuse_all(not_sent(reason))

    def close(self, reason: str, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """End everything: UNKNOWN what has left, NOT_SENT what hasn't. `send` then has the GOAWAY, and
        nothing else."""
        self.drain(reason)
        if self.phase is not Phase.CLOSED:
            self.phase = Phase.CLOSED
            for stream_id in list(self._streams.open):
                self._inbound.lose(stream_id, reason)
            self._control = [frames.goaway(code)]

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        return self._streams.take_events()

    def receive(self, octets: bytes) -> None:
        """Take what the server sent, in any cut. Raises ProtocolError: then `close` with its code must
        follow."""
        if self.phase is Phase.CLOSED:
            return
        if self._rest:
            octets = self._rest + octets
        at, size = 0, len(octets)
        streams, unusual, events = self._streams.open, self._streams.unusual, self._streams.events
        quick = self._inbound.quick
        while size - at >= frames.HEAD_SIZE:
            high, low, kind_flags, stream_id = _HEAD(octets, at)
            body = at + frames.HEAD_SIZE
            end = body + (high << 8 | low)
            if kind_flags == _QUICK and quick and body < end <= size and octets[body] == _STATUS_200:
                run = streams.get(stream_id)
                if run is not None and stream_id not in unusual and end - body <= frames.FRAME_MAX:
                    # `Streams.end`, written out: this is where nearly all answers come by.
                    del streams[stream_id]
                    run.answers[(stream_id >> 1) - run.shift] = DELIVERED
                    flight = run.flight
                    flight.left -= 1
                    if not flight.left:
                        events.append(flight)
                    self._inbound.answered = True
                    at = end
                    continue
            if end - body > frames.FRAME_MAX:
                raise ProtocolError("frame above the size announced", ErrorCode.FRAME_SIZE_ERROR)
            if not self._greeted and kind_flags != frames.SETTINGS << 8:
                raise ProtocolError("the first frame isn't SETTINGS")
            if end > size:
                break
            self._on_frame(
                kind_flags >> 8, kind_flags & 0xFF, stream_id & frames.STREAM_ID_MAX, octets[body:end]
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
        reason, _ = json_reason(payload[8 : 8 + BODY_MAX])
        label = f"GoAway:{reason}" if reason else "GoAway"
        self.drain(label)
        last = frames.long_at(payload) & frames.STREAM_ID_MAX
        for above in [open_id for open_id in self._streams.open if open_id > last]:
            self._streams.end(above, not_sent(label))
        self._streams.events.append(GoingAway(reason, frames.long_at(payload, 4)))

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
            elif name == frames.MAX_FRAME_SIZE and not frames.FRAME_MAX <= value < 1 << 24:
                raise ProtocolError("SETTINGS_MAX_FRAME_SIZE out of range")
        self._reply(frames.SETTINGS_ACK)
        if not self._greeted:
            self._greeted = True
            self._streams.events.append(Opened())
            if self.phase is Phase.OPENING:
                self.phase = Phase.OPEN

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 4)
        octets = frames.long_at(payload) & frames.WINDOW_MAX
        if not stream_id:
            if not octets:
                raise ProtocolError("WINDOW_UPDATE of 0")
            self._outbound.grow_window(octets)
            return
        self._streams.check_begun(stream_id)
        partial = self._streams.partial.get(stream_id)
        if partial is None:  # the body has been sent: nothing waits for this window
            return
        partial.window += octets
        if not octets or partial.window > frames.WINDOW_MAX:
            code = ErrorCode.FLOW_CONTROL_ERROR if octets else ErrorCode.PROTOCOL_ERROR
            self._reply(frames.reset(stream_id, code))
            self._inbound.lose(stream_id, "MalformedAnswer")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_connection(stream_id)
        frames.check_size(payload, 8)
        if flags & frames.ACK:
            self._streams.events.append(Ponged(payload))
        else:
            self._reply(frames.ping(payload, ack=True))

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 5)
        if not stream_id:
            raise ProtocolError("PRIORITY of the connection")

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ProtocolError("PUSH_PROMISE, which we forbade")

    def _reply(self, octets: bytes) -> None:
        """Have a frame sent that the server caused."""
        self._control.append(octets)
        self._control_size += len(octets)
        if self._control_size > CONTROL_MAX:
            raise ProtocolError("too many frames to reply to", ErrorCode.ENHANCE_YOUR_CALM)


def _check_connection(stream_id: int) -> None:
    if stream_id:
        raise ProtocolError("a frame of the connection on a stream")
