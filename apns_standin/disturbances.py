"""Effects of a reply on its whole connection: GOAWAY, a TCP reset, silence."""

from __future__ import annotations

from typing import Protocol

from .replies import Reply


class DisturbedConnection(Protocol):
    """The part of a connection that faults act on."""

    last_decided: int

    @property
    def leaving(self) -> bool:
        """True once a GOAWAY was sent or received."""

    def goaway(
        self, error_code: int = 0, *, last_stream_id: int | None = None, reason: str | None = None
    ) -> None:
        """Send GOAWAY; streams that have begun are still answered."""

    def leave_above(self, last_stream_id: int) -> None:
        """Send GOAWAY; streams above `last_stream_id` are not processed."""

    def refuse(self, stream_id: int) -> None:
        """Send RST_STREAM REFUSED_STREAM: the request was not processed."""

    def reset(self) -> None:
        """Reset the TCP connection."""

    def stall(self) -> None:
        """Keep reading, and send nothing any more."""


def disturb(connection: DisturbedConnection, stream_id: int, reply: Reply) -> None:
    """Apply `reply.connection` to the connection; a second GOAWAY is left out."""
    match reply.connection:
        case "reset":
            connection.reset()
        case "stall":
            connection.stall()
        case "goaway":
            if not connection.leaving:  # it closes once all streams have their answers
                connection.goaway(reason="Shutdown")
        case "goaway_unprocessed":
            if stream_id < connection.last_decided or connection.leaving:
                connection.refuse(stream_id)  # GOAWAY cannot exclude a stream below its last stream id
            else:
                connection.leave_above(connection.last_decided)
        case "":
            pass
