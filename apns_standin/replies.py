"""What a connection does with a request: decided by whoever answers, done by `connection`."""

from __future__ import annotations

from typing import Literal

import msgspec

REDACTED = "bearer [redacted]"
"""What is kept of an `authorization` header."""


class Reply(msgspec.Struct, frozen=True):
    """What a connection does with a request.

    Attributes:
        status: HTTP status.
        headers: response headers without `:status`.
        body: sent after the headers; may be empty.
        delay: seconds to wait before any of it.
        reset: HTTP/2 error code to reset the stream with instead of answering.
        reset_after: the same, after the complete answer.
        frame_bytes: the body goes out in DATA frames of so many bytes; None: as large as they may be.
        connection: what becomes of the connection: GOAWAY after this answer; GOAWAY that leaves this and all later
        streams unprocessed; a TCP reset; or it is read and says nothing any more.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    delay: float = 0.0
    reset: int | None = None
    reset_after: int | None = None
    frame_bytes: int | None = None
    connection: Literal["", "goaway", "goaway_unprocessed", "reset", "stall"] = ""
