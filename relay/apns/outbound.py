"""What we send: the queue of flights, and both levels of flow control (RFC 9113, 5.2).

A push leaves as HEADERS and DATA in one piece when its payload fits into the windows: nearly always. If it
doesn't, its stream is opened all the same, with as much of the payload as goes, and the rest follows when a
WINDOW_UPDATE or SETTINGS allows: a server may give no window back before it has seen all of what it gave. No
stream is opened while the connection's window is empty: a push that waits in the queue is still NOT_SENT.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from relay.apns import frames
from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.requests import NO_TABLE, RequestEncoder, encode, encode_block
from relay.apns.streams import Flight, Run, Streams, Unusual
from relay.core.delivery.sending import Answer

QUANTUM: Final = 256
"""Pushes of one flight before the next in the queue has its turn."""
_REQUEST_SIZE: Final = 500
"""Octets of a request without its payload, about."""


class Outbound:
    """The sending half of a connection."""

    def __init__(self, encoder: RequestEncoder, streams: Streams) -> None:
        self._encoder = encoder
        self._streams = streams
        self._queue: deque[Flight] = deque()
        self._first = True
        self.queued = 0
        """Pushes that have no stream yet."""
        self.window = frames.WINDOW_DEFAULT
        """Octets of DATA the connection lets through."""
        self.stream_window = frames.WINDOW_DEFAULT
        """Octets of DATA a new stream lets through."""

    def add(self, flight: Flight) -> None:
        """Queue a flight."""
        self._queue.append(flight)
        self.queued += len(flight.batch)

    def withdraw(self, flight: Flight, answer: Answer) -> None:
        """What is queued of a flight ends with that answer."""
        if flight in self._queue:
            self._queue.remove(flight)
            self.queued -= self._streams.refuse(flight, answer)

    def refuse_all(self, answer: Answer) -> None:
        """All that is queued ends with that answer."""
        while self._queue:
            self._streams.refuse(self._queue.popleft(), answer)
        self.queued = 0

    def send_bodies(self, out: list[bytes], limit: int) -> None:
        """What the windows let through of bodies begun, about `limit` octets at most."""
        for stream_id, unusual in list(self._streams.partial.items()):
            if self.window <= 0 or limit <= 0:
                break
            count = min(len(unusual.body), unusual.window, self.window)
            if count > 0:
                self._send_body(out, stream_id, unusual, count)
                limit -= count

    def send_pushes(self, out: list[bytes], limit: int, capacity: int) -> None:
        """Begin pushes: as many as `capacity` streams at once, ids, windows and about `limit` octets
        allow."""
        queue, streams = self._queue, self._streams
        while queue and limit > 0:
            flight = queue[0]
            batch = flight.batch
            size = len(batch.payload)
            room = min(capacity - len(streams.open), (frames.STREAM_ID_MAX - streams.next_id + 2) // 2)
            if room <= 0 or (size and self.window <= 0):
                return
            count = min(room, len(batch.answers) - flight.next, QUANTUM, limit // (size + _REQUEST_SIZE) + 1)
            if size:
                count = min(count, self.window // size)
            if count and size <= self.stream_window and size <= frames.FRAME_MAX and not self._first:
                out += encode(
                    self._encoder,
                    batch,
                    flight.authorization,
                    flight.next,
                    flight.next + count,
                    streams.next_id,
                )
                self.window -= size * count
                self._begin(flight, count)
            else:
                count = 1
                self._send_first_part(out, flight)
            limit -= count * (size + _REQUEST_SIZE)
            if flight.next == len(batch.answers):
                queue.popleft()
            elif len(queue) > 1:
                queue.rotate(-1)

    def _begin(self, flight: Flight, count: int) -> None:
        """The next `count` pushes of a flight have their streams."""
        stream_id = self._streams.next_id
        shift = (stream_id >> 1) - flight.next
        run = flight.run
        assert run is not None  # it has pushes that are queued
        if run.shift != shift:
            if flight.next:  # streams of other flights lie between: the former run is still in use
                run = flight.run = Run(flight, shift)
            else:
                run.shift = shift
        streams = self._streams
        if count == 1:
            streams.open[stream_id] = run
        else:
            streams.open.update(dict.fromkeys(range(stream_id, stream_id + 2 * count, 2), run))
        if flight.batch.traced:
            for traced_id in range(stream_id, stream_id + 2 * count, 2):
                streams.unusual[traced_id] = Unusual(traced=True)
        flight.next += count
        if flight.next == len(flight.batch.answers):
            flight.run = None
        streams.next_id = stream_id + 2 * count
        self.queued -= count

    def _send_first_part(self, out: list[bytes], flight: Flight) -> None:
        """One push in its general form."""
        stream_id, payload = self._streams.next_id, flight.batch.payload
        block = encode_block(self._encoder, flight.batch, flight.authorization, flight.next)
        if self._first:
            block = NO_TABLE + block
            self._first = False
        self._begin(flight, 1)
        out.append(frames.headers(stream_id, block))
        count = min(len(payload), self.stream_window, self.window)
        if count == len(payload):
            self.window -= count
            out.append(frames.data(stream_id, payload, end=True))
            return
        unusual = self._streams.unusual.setdefault(stream_id, Unusual())
        unusual.body, unusual.window = payload, self.stream_window
        self._streams.partial[stream_id] = unusual
        if count > 0:
            self._send_body(out, stream_id, unusual, count)

    def _send_body(self, out: list[bytes], stream_id: int, unusual: Unusual, count: int) -> None:
        part, unusual.body = unusual.body[:count], unusual.body[count:]
        unusual.window -= count
        self.window -= count
        if not unusual.body:
            del self._streams.partial[stream_id]
        out.append(frames.data(stream_id, part, end=not unusual.body))

    def grow_window(self, octets: int) -> None:
        """WINDOW_UPDATE of the connection."""
        self.window += octets
        if self.window > frames.WINDOW_MAX:
            raise ProtocolError("connection window above 2^31 - 1", ErrorCode.FLOW_CONTROL_ERROR)

    def set_stream_window(self, octets: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE: open streams change by the difference, perhaps below 0 (RFC 9113,
        6.9.2)."""
        if octets > frames.WINDOW_MAX:
            raise ProtocolError("initial window above 2^31 - 1", ErrorCode.FLOW_CONTROL_ERROR)
        for unusual in self._streams.partial.values():
            unusual.window += octets - self.stream_window
            if unusual.window > frames.WINDOW_MAX:
                raise ProtocolError("stream window above 2^31 - 1", ErrorCode.FLOW_CONTROL_ERROR)
        self.stream_window = octets
