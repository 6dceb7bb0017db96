"""What a reply does to its connection as a whole: GOAWAY, a TCP reset, silence."""

from __future__ import annotations

from typing import Protocol

from .replies import Reply


class Disturbed(Protocol):
    """A connection, as far as faults take hold of it."""

    last_judged: int

    @property
    def leaving(self) -> bool:
        """Whether a GOAWAY was sent or received."""

    def goaway(
        self, error_code: int = 0, *, last_stream_id: int | None = None, reason: str | None = None
    ) -> None:
        """GOAWAY; what was begun is answered."""

    def leave_above(self, last_stream_id: int) -> None:
        """GOAWAY; streams above that one are not processed."""

    def refuse(self, stream_id: int) -> None:
        """RST_STREAM that says: not processed."""

    def reset(self) -> None:
        """Reset the TCP connection."""

    def stall(self) -> None:
        """Go on reading, and say nothing any more."""


def disturb(connection: Disturbed, stream_id: int, reply: Reply) -> None:
    """Do to the connection what the reply to that stream asks for, unless it is going away already."""
    match reply.connection:
        case "reset":
            connection.reset()
        case "stall":
            connection.stall()
        case "goaway":
            if not connection.leaving:  # it closes once this stream and all others have their answers
                connection.goaway(reason="Shutdown")
        case "goaway_unprocessed":
            if stream_id < connection.last_judged or connection.leaving:
                connection.refuse(stream_id)  # a GOAWAY cannot say that it was left out
            else:
                connection.leave_above(connection.last_judged)
        case "":
            pass
