"""The receiving half of a connection: header blocks, bodies and resets on streams, and the end of each push.

The stream of a push ends in exactly one of these ways:

* its answer is complete: ANSWERED;
* it is lost (reset, cancelled, connection closed) after its status arrived: ANSWERED. APNs has decided, and a push is
  not sent again because the rest of a body is missing;
* it is lost with REFUSED_STREAM, or by a GOAWAY with a lower id: NOT_SENT;
* it is lost otherwise, or the frames are no HTTP answer: UNKNOWN.

Lenient in one point: a frame on a stream that has ended is ignored (though decoded, and counted by flow control), where
RFC 9113, 5.1 would allow a connection error. It may have crossed a RST_STREAM of the relay, which keeps no list of
former streams; and servers that answer before they have read a body send RST_STREAM after it (8.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from relay.apns import frames
from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.responses import MAX_BLOCK_BYTES, MAX_BODY_BYTES, HeaderReader, answer
from relay.apns.streams import (
    ConnectionUnusable,
    Streams,
    TokenUpdatesLimited,
    UnusualStream,
    not_sent,
    unknown,
)

RECEIVE_WINDOW_BYTES: Final = 1 << 20
"""Octets of answer bodies that the server may send ahead on the connection. Both windows are given back by halves.
A server that exceeds them is not cut off: bodies are cut at MAX_BODY_BYTES as they arrive, so no memory is lost."""
MAX_CONTINUATIONS: Final = 64

UNUSABLE_REASONS: Final = frozenset(
    {"ExpiredProviderToken", "UnrelatedKeyIdInToken", "IdleTimeout", "Shutdown"}
)
"""Reasons after which Apple wants a new connection (with status 421: any reason)."""
_MISDIRECTED: Final = 421
_UNIQUE_ID: Final = re.compile(rb"[A-Za-z0-9-]{1,64}")
"""The value is stored unchanged, so its characters are restricted: PostgreSQL's JSON accepts no NUL."""


class Inbound:
    """The receiving half of a connection. `reply` sends a frame. Handlers get (flags, stream id, payload)."""

    def __init__(self, streams: Streams, reply: Callable[[bytes], None]) -> None:
        self._streams = streams
        self._reply = reply
        self._reader = HeaderReader()
        self._block: tuple[int, bool, bytearray] | None = None
        self._block_frames = 0
        self._taken = 0
        self.answered = False
        """True once a push of this connection was answered."""

    @property
    def quick(self) -> bool:
        """True if no header block is pending, and a block that starts with `:status: 200` needs no decoding
        (see `responses`)."""
        return self._block is None and self._reader.stateless

    def expects(self, kind: int, stream_id: int) -> None:
        """Raise ProtocolError for a frame inside a header block, unless it continues the block (RFC 9113, 6.10)."""
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block[0]):
            raise ProtocolError("a frame inside a header block")

    def on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Process HEADERS, the start of a header block (6.2)."""
        self._streams.check_begun(stream_id)
        block = _unpadded(flags, payload)
        if flags & frames.PRIORITISED:
            if len(block) < 5:
                raise ProtocolError("HEADERS too short", ErrorCode.FRAME_SIZE_ERROR)
            block = block[5:]
        end_stream = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, block, end_stream)
        else:
            self._block = (stream_id, end_stream, bytearray(block))
            self._block_frames = 0

    def on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Process CONTINUATION, the next part of a header block (6.10)."""
        if self._block is None:
            raise ProtocolError("CONTINUATION without HEADERS")
        _, end_stream, block = self._block
        block += payload
        self._block_frames += 1
        if len(block) > MAX_BLOCK_BYTES or self._block_frames > MAX_CONTINUATIONS:
            raise ProtocolError("endless header block", ErrorCode.ENHANCE_YOUR_CALM)
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(stream_id, bytes(block), end_stream)

    def _on_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        fields = self._reader.read(block)  # also for a stream that has ended: it may change the dynamic table
        if stream_id not in self._streams.open:
            return
        unusual = self._streams.unusual.setdefault(stream_id, UnusualStream())
        if unusual.status:
            if not end_stream:  # trailers end a message (RFC 9113, 8.1)
                self._malformed(stream_id)
                return
        else:
            status = _status(fields)
            if status == 0 or (status < 200 and end_stream):
                self._malformed(stream_id)
                return
            if status < 200:  # interim: the final answer follows
                return
            unusual.status = status
            if unusual.traced:
                unusual.unique_id = _unique_id(fields)
        if end_stream:
            self._finish(stream_id, unusual)

    def on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Process DATA, a part of a body (6.1)."""
        self._streams.check_begun(stream_id)
        size = len(payload)  # padding counts too (RFC 9113, 6.9.1)
        self._taken += size
        if self._taken >= RECEIVE_WINDOW_BYTES // 2:
            self._reply(frames.window_update(0, self._taken))
            self._taken = 0
        text = _unpadded(flags, payload)
        if stream_id not in self._streams.open:
            return
        unusual = self._streams.unusual.get(stream_id)
        if unusual is None or not unusual.status:
            self._malformed(stream_id)
            return
        unusual.taken += size
        unusual.text += text[: MAX_BODY_BYTES - len(unusual.text)]
        if flags & frames.END_STREAM:
            self._finish(stream_id, unusual)
        elif unusual.taken >= frames.DEFAULT_WINDOW_BYTES // 2:
            self._reply(frames.window_update(stream_id, unusual.taken))
            unusual.taken = 0

    def on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Process RST_STREAM, the end of a stream by the server (6.4)."""
        frames.check_size(payload, 4)
        self._streams.check_begun(stream_id)
        if stream_id not in self._streams.open:
            return
        if frames.long_at(payload) == ErrorCode.REFUSED_STREAM and not self._status_of(stream_id):
            self._streams.end(stream_id, not_sent("RefusedStream"))
        else:
            self.lose(stream_id, "StreamReset")

    # Ends of streams.

    def _finish(self, stream_id: int, unusual: UnusualStream) -> None:
        """End a stream whose answer is complete."""
        if unusual.body:  # the answer came before the request's body was sent in full: the rest is not needed
            self._reply(frames.reset(stream_id, ErrorCode.CANCEL))
        self.answered = True
        self._conclude(stream_id, unusual)

    def _conclude(self, stream_id: int, unusual: UnusualStream) -> None:
        result = answer(unusual.status, bytes(unusual.text), unusual.unique_id)
        flight = self._streams.end(stream_id, result)
        if result.reason in UNUSABLE_REASONS or result.status == _MISDIRECTED:
            reason = result.reason or "MisdirectedRequest"
            self._streams.events.append(ConnectionUnusable(reason, flight.authorization))
        elif result.reason == "TooManyProviderTokenUpdates":
            self._streams.events.append(TokenUpdatesLimited())

    def lose(self, stream_id: int, reason: str) -> None:
        """End a stream whose answer is incomplete; `reason` is that of UNKNOWN."""
        unusual = self._streams.unusual.get(stream_id)
        if unusual is not None and unusual.status:
            self._conclude(stream_id, unusual)
        else:
            self._streams.end(stream_id, unknown(reason))

    def _malformed(self, stream_id: int) -> None:
        """End a stream whose frames are no HTTP answer, with a stream error (RFC 9113, 8.1.1)."""
        self._reply(frames.reset(stream_id, ErrorCode.PROTOCOL_ERROR))
        self.lose(stream_id, "MalformedAnswer")

    def _status_of(self, stream_id: int) -> int:
        unusual = self._streams.unusual.get(stream_id)
        return unusual.status if unusual is not None else 0


def _unpadded(flags: int, payload: bytes) -> bytes:
    """Return a payload without its padding (RFC 9113, 6.1). Raises ProtocolError."""
    if not flags & frames.PADDED:
        return payload
    if not payload:
        raise ProtocolError("PADDED without padding", ErrorCode.FRAME_SIZE_ERROR)
    padding = payload[0]
    if padding >= len(payload):
        raise ProtocolError("padding longer than the frame")
    return payload[1 : len(payload) - padding]


def _status(fields: list[tuple[bytes, bytes]]) -> int:
    """Return the status of an answer; 0 without a valid status."""
    if not fields or fields[0][0] != b":status":
        return 0
    value = fields[0][1]
    return int(value) if len(value) == 3 and value.isdigit() and value >= b"100" else 0


def _unique_id(fields: list[tuple[bytes, bytes]]) -> str | None:
    for name, value in fields:
        if name == b"apns-unique-id":
            return value.decode() if _UNIQUE_ID.fullmatch(value) else None
    return None
