"""Replies to requests: a service decides them, a connection carries them out."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

REDACTED: Final = "bearer [redacted]"
"""Stored in place of an `authorization` header."""


class Reply(msgspec.Struct, frozen=True):
    """A reply to a request.

    Attributes:
        status: HTTP status.
        headers: response headers without `:status`.
        body: sent after the headers; may be empty.
        delay: seconds before anything is sent.
        reset: HTTP/2 error code of an RST_STREAM in place of the answer.
        reset_after: HTTP/2 error code of an RST_STREAM after the complete answer.
        frame_bytes: size of the body's DATA frames; None: as large as allowed.
        connection: "goaway" sends GOAWAY after this answer, "goaway_unprocessed" a GOAWAY that leaves this and all
            later streams unprocessed, "reset" resets the TCP connection, "stall" keeps reading and sends nothing more.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    delay: float = 0.0
    reset: int | None = None
    reset_after: int | None = None
    frame_bytes: int | None = None
    connection: Literal["", "goaway", "goaway_unprocessed", "reset", "stall"] = ""
