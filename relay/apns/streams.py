"""What is under way on a connection: flights, their streams, and how each push ends.

A `Flight` is a batch on this connection. Ids of streams rise by two, so consecutive pushes of a flight have
consecutive ids: `Streams.open` maps an id to a `Run`, which knows the distance between id and index. Nothing
else is kept for a push. What is unusual about a stream – a request body not yet sent in full, an answer that
takes more than one frame, a trace – is an `Unusual` in a second dictionary, which is empty nearly always.

`Streams.end` is the only way out of `open` besides the quick path of `wire`, so a push can't end twice.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.apns.frames import ProtocolError
from relay.core.delivery.sending import Answer, Fate, SendBatch


class Flight:
    """A batch on a connection, until its last push has ended; then it is an event.

    `tag` is the caller's, untouched. Pushes from index `next` on are still queued; `left` have not ended. `run` is that
    of its next stream, None when it needs no more: the two know each other, and what is in a cycle is kept for long.
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
    """Consecutive streams of a flight: stream id // 2 - `shift` is the index in the batch."""

    __slots__ = ("answers", "flight", "shift")

    def __init__(self, flight: Flight, shift: int) -> None:
        self.flight = flight
        self.answers = flight.batch.answers
        self.shift = shift


class Unusual:
    """What is unusual about a stream: see the module's text."""

    __slots__ = ("body", "status", "taken", "text", "traced", "unique_id", "window")

    def __init__(self, *, traced: bool = False) -> None:
        self.body = b""  # of the request: what isn't sent yet
        self.window = 0  # octets of it the stream lets through; SETTINGS can make it negative
        self.status = 0  # of the answer; 0 until the final one
        self.text = bytearray()  # of the answer
        self.taken = 0  # octets of the stream's receive window in use
        self.traced = traced
        self.unique_id: str | None = None


class Opened(NamedTuple):
    """The server's first SETTINGS have arrived: pushes can leave."""


class GoingAway(NamedTuple):
    """GOAWAY. `reason` is Apple's from the debug data, "" if there is none; `code` is HTTP/2's."""

    reason: str
    code: int


class Wedged(NamedTuple):
    """An answer says that this connection is of no use any more; `authorization` is what its request
    carried."""

    reason: str
    authorization: bytes


class TokenHeld(NamedTuple):
    """429 TooManyProviderTokenUpdates: no new JWT for 20 minutes."""


class Ponged(NamedTuple):
    """The answer to a PING of ours, with its eight octets."""

    opaque: bytes


Event = Flight | Opened | GoingAway | Wedged | TokenHeld | Ponged


class Streams:
    """The open streams of a connection, and the events that became of them and others."""

    def __init__(self) -> None:
        self.open: dict[int, Run] = {}
        """In the order of ids: they only ever rise."""
        self.unusual: dict[int, Unusual] = {}
        self.partial: dict[int, Unusual] = {}
        """Those of `unusual` with a body still to be sent."""
        self.next_id = 1
        """The id of the next stream; above STREAM_ID_MAX there is none."""
        self.events: list[Event] = []

    def check_begun(self, stream_id: int) -> None:
        """The server may speak on streams that we began, and on no others (RFC 9113, 5.1)."""
        if not stream_id & 1 or stream_id >= self.next_id:
            raise ProtocolError("a frame on an idle stream")

    def end(self, stream_id: int, answer: Answer) -> Flight:
        """The push on that open stream has ended so."""
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
        """The pushes of a flight that have no stream yet have ended so; their number."""
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
        """The events since the last call, in order. The list object stays: the quick path holds on to it."""
        events = self.events[:]
        self.events.clear()
        return events


def not_sent(reason: str) -> Answer:
    """The answer of a push that APNs certainly did not process."""
    return Answer(Fate.NOT_SENT, reason=reason)


def unknown(reason: str) -> Answer:
    """The answer of a push that left and came to nothing we know of."""
    return Answer(Fate.UNKNOWN, reason=reason)
