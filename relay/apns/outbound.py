"""The sending half of a connection: the queue of flights, and both levels of flow control (RFC 9113, 5.2).

If its payload fits into the windows, which is nearly always so, a push is sent as HEADERS and DATA in one piece.
Otherwise its stream is opened with as much of the payload as the windows allow. The rest follows when a WINDOW_UPDATE
or SETTINGS allows it: a server may give no window back before its window is used up. No stream is opened while the
connection's window is empty: a push in the queue is still NOT_SENT.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from relay.apns import frames
from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.requests import NO_TABLE, RequestEncoder, encode, encode_block
from relay.apns.streams import Flight, Run, Streams, UnusualStream
from relay.core.delivery.sending import Answer

PUSHES_PER_TURN: Final = 256
"""Pushes of one flight before the next flight in the queue has its turn."""
_REQUEST_BYTES: Final = 500
"""Approximate size of a request without its payload."""


class Outbound:
    """The sending half of a connection."""

    def __init__(self, encoder: RequestEncoder, streams: Streams) -> None:
        self._encoder = encoder
        self._streams = streams
        self._queue: deque[Flight] = deque()
        self._first = True
        self.queued = 0
        """Number of pushes without a stream."""
        self.window = frames.DEFAULT_WINDOW_BYTES
        """Octets of DATA that the connection's window allows."""
        self.stream_window = frames.DEFAULT_WINDOW_BYTES
        """Octets of DATA that a new stream's window allows."""

    def rest(self) -> None:
        """Let go of what only a connection with pushes needs."""
        self._encoder.forget_shapes()

    def add(self, flight: Flight) -> None:
        """Append a flight to the queue."""
        self._queue.append(flight)
        self.queued += len(flight.batch)

    def withdraw(self, flight: Flight, answer: Answer) -> None:
        """End the queued pushes of a flight with `answer`."""
        if flight in self._queue:
            self._queue.remove(flight)
            self.queued -= self._streams.refuse(flight, answer)

    def refuse_all(self, answer: Answer) -> None:
        """End all queued pushes with `answer`."""
        while self._queue:
            self._streams.refuse(self._queue.popleft(), answer)
        self.queued = 0

    def send_bodies(self, out: list[bytes], limit: int) -> None:
        """Append DATA of unfinished bodies to `out`, as far as the windows allow; about `limit` octets at most."""
        for stream_id, unusual in list(self._streams.partial.items()):
            if self.window <= 0 or limit <= 0:
                break
            count = min(len(unusual.body), unusual.window, self.window)
            if count > 0:
                self._send_body(out, stream_id, unusual, count)
                limit -= count

    def send_pushes(self, out: list[bytes], limit: int, capacity: int) -> None:
        """Append requests to `out`, as many as `capacity` (concurrent streams), ids, windows and about `limit` octets
        allow."""
        queue, streams = self._queue, self._streams
        while queue and limit > 0:
            flight = queue[0]
            batch = flight.batch
            size = len(batch.payload)
            room = min(capacity - len(streams.open), (frames.MAX_STREAM_ID - streams.next_id + 2) // 2)
            if room <= 0 or (size and self.window <= 0):
                return
            count = min(
                room, len(batch.answers) - flight.next, PUSHES_PER_TURN, limit // (size + _REQUEST_BYTES) + 1
            )
            if size:
                count = min(count, self.window // size)
            if count and size <= self.stream_window and size <= frames.MAX_FRAME_BYTES and not self._first:
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
            limit -= count * (size + _REQUEST_BYTES)
            if flight.next == len(batch.answers):
                queue.popleft()
            elif len(queue) > 1:
                queue.rotate(-1)

    def _begin(self, flight: Flight, count: int) -> None:
        """Assign the next `count` stream ids to the next pushes of a flight."""
        stream_id = self._streams.next_id
        shift = (stream_id >> 1) - flight.next
        run = flight.run
        assert run is not None  # the flight has queued pushes
        if run.shift != shift:
            if flight.next:  # after streams of other flights: the former run is still in use
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
                streams.unusual[traced_id] = UnusualStream(traced=True)
        flight.next += count
        if flight.next == len(flight.batch.answers):
            flight.run = None
        streams.next_id = stream_id + 2 * count
        self.queued -= count

    def _send_first_part(self, out: list[bytes], flight: Flight) -> None:
        """Send one push in its general form: HEADERS, and DATA as far as the windows allow."""
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
        unusual = self._streams.unusual.setdefault(stream_id, UnusualStream())
        unusual.body, unusual.window = payload, self.stream_window
        self._streams.partial[stream_id] = unusual
        if count > 0:
            self._send_body(out, stream_id, unusual, count)

    def _send_body(self, out: list[bytes], stream_id: int, unusual: UnusualStream, count: int) -> None:
        part, unusual.body = unusual.body[:count], unusual.body[count:]
        unusual.window -= count
        self.window -= count
        if not unusual.body:
            del self._streams.partial[stream_id]
        out.append(frames.data(stream_id, part, end=not unusual.body))

    def grow_window(self, octets: int) -> None:
        """Apply a WINDOW_UPDATE of the connection. Raises ProtocolError."""
        self.window += octets
        if self.window > frames.MAX_WINDOW_BYTES:
            raise ProtocolError("connection window above 2^31 - 1", ErrorCode.FLOW_CONTROL_ERROR)

    def set_stream_window(self, octets: int) -> None:
        """Apply SETTINGS_INITIAL_WINDOW_SIZE. The windows of open streams change by the difference, perhaps to a
        negative number (RFC 9113, 6.9.2). Raises ProtocolError."""
        if octets > frames.MAX_WINDOW_BYTES:
            raise ProtocolError("initial window above 2^31 - 1", ErrorCode.FLOW_CONTROL_ERROR)
        for unusual in self._streams.partial.values():
            unusual.window += octets - self.stream_window
            if unusual.window > frames.MAX_WINDOW_BYTES:
                raise ProtocolError("stream window above 2^31 - 1", ErrorCode.FLOW_CONTROL_ERROR)
        self.stream_window = octets
