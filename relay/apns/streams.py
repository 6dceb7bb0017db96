"""State of the pushes on a connection: flights, their streams, and the end of each push.

A `Flight` is a batch on this connection. Stream ids rise by two, so consecutive pushes of a flight have consecutive
ids: `Streams.open` maps an id to a `Run`, which holds the distance between id and index. Nothing else is stored for a
push. A stream with more state (an unfinished request body, an answer of more than one frame, a trace) has an
`UnusualStream` in a second dictionary, which is nearly always empty.

Only `Streams.end` and the quick path of `wire` remove a stream from `open`, so a push cannot end twice.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.apns.frames import ProtocolError
from relay.core.delivery.sending import Answer, Fate, SendBatch


class Flight:
    """A batch on a connection. When its last push has ended, the flight is an event.

    Attributes:
        tag: a value of the caller.
        next: pushes from this index on are still queued.
        left: number of pushes that have not ended.
        run: the run of the next stream; None when all pushes have streams. The two refer to each other, and a
            reference cycle would stay in memory for long.
    """

    __slots__ = ("authorization", "batch", "left", "next", "run", "tag")

    def __init__(self, batch: SendBatch, authorization: bytes, tag: object) -> None:
        self.batch = batch
        self.authorization = authorization
        self.tag = tag
        self.next = 0
        self.left = len(batch.answers)
        self.run: Run | None = Run(self, 0)


class Run:
    """Consecutive streams of a flight. The index in the batch is stream id // 2 - `shift`."""

    __slots__ = ("answers", "flight", "shift")

    def __init__(self, flight: Flight, shift: int) -> None:
        self.flight = flight
        self.answers = flight.batch.answers
        self.shift = shift


class UnusualStream:
    """Additional state of a stream; see the module's docstring."""

    __slots__ = ("body", "status", "taken", "text", "traced", "unique_id", "window")

    def __init__(self, *, traced: bool = False) -> None:
        self.body = b""  # unsent part of the request's body
        self.window = 0  # send window of the stream in octets; SETTINGS can make it negative
        self.status = 0  # status of the answer; 0 until the final one
        self.text = bytearray()  # body of the answer
        self.taken = 0  # octets of the stream's receive window in use
        self.traced = traced
        self.unique_id: str | None = None


class ConnectionOpened(NamedTuple):
    """The arrival of the server's first SETTINGS: pushes can leave."""


class GoAwayReceived(NamedTuple):
    """A GOAWAY. `reason` is Apple's from the debug data, "" without one; `code` is the HTTP/2 error code."""

    reason: str
    code: int


class ConnectionUnusable(NamedTuple):
    """An answer after which this connection must not be used. `authorization` is that header of its request."""

    reason: str
    authorization: bytes


class TokenUpdatesLimited(NamedTuple):
    """The answer 429 TooManyProviderTokenUpdates: no new JWT for 20 minutes."""


class PingAnswered(NamedTuple):
    """The answer to a PING, with its eight octets."""

    opaque: bytes


Event = Flight | ConnectionOpened | GoAwayReceived | ConnectionUnusable | TokenUpdatesLimited | PingAnswered


class Streams:
    """The open streams of a connection, and its events."""

    def __init__(self) -> None:
        self.open: dict[int, Run] = {}
        """In the order of ids, which always rise."""
        self.unusual: dict[int, UnusualStream] = {}
        self.partial: dict[int, UnusualStream] = {}
        """The streams in `unusual` with an unsent part of a body."""
        self.next_id = 1
        """The id of the next stream; above MAX_STREAM_ID the ids are used up."""
        self.events: list[Event] = []

    def check_begun(self, stream_id: int) -> None:
        """Raise ProtocolError for a stream that the relay has not begun (RFC 9113, 5.1)."""
        if not stream_id & 1 or stream_id >= self.next_id:
            raise ProtocolError("a frame on an idle stream")

    def end(self, stream_id: int, answer: Answer) -> Flight:
        """End the push on an open stream with `answer` and return its flight."""
        run = self.open.pop(stream_id)
        self.unusual.pop(stream_id, None)
        self.partial.pop(stream_id, None)
        run.answers[(stream_id >> 1) - run.shift] = answer
        flight = run.flight
        flight.left -= 1
        if not flight.left:
            self.events.append(flight)
        return flight

    def refuse(self, flight: Flight, answer: Answer) -> int:
        """End the queued pushes of a flight with `answer` and return their number."""
        answers = flight.batch.answers
        count = len(answers) - flight.next
        answers[flight.next :] = [answer] * count
        flight.next = len(answers)
        flight.run = None
        flight.left -= count
        if not flight.left:
            self.events.append(flight)
        return count

    def take_events(self) -> list[Event]:
        """Return the events since the last call, in order. The list object stays: the quick path refers to it."""
        events = self.events[:]
        self.events.clear()
        return events


def not_sent(reason: str) -> Answer:
    """Return the answer of a push that APNs certainly did not process."""
    return Answer(Fate.NOT_SENT, reason=reason)


def unknown(reason: str) -> Answer:
    """Return the answer of a push that left and whose result is unknown."""
    return Answer(Fate.UNKNOWN, reason=reason)
