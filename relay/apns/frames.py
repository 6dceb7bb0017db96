"""HTTP/2 frames as octets (RFC 9113, sections 4 and 6): constants, builders, and the codec's exception.

This module has no state. A frame is a head of nine octets (24 bits of length, 8 of type, 8 of flags, 32 of stream id)
and a payload; `HEAD` reads a head in one call.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first octets of a client (RFC 9113, 3.4)."""

HEAD_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16_384
"""Payload that every peer must accept (4.2). The relay never sends larger frames, even if SETTINGS_MAX_FRAME_SIZE
allows them, and never announces a larger size, so larger frames are an error of the peer."""
DEFAULT_WINDOW_BYTES: Final = 65_535
MAX_WINDOW_BYTES: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITISED: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

HEAD: Final = struct.Struct(">HBBBL")
"""Length (upper 16 bits, lower 8), type, flags, stream id with the reserved bit."""
_LONG: Final = struct.Struct(">L")
_SETTING: Final = struct.Struct(">HL")


class ErrorCode(enum.IntEnum):
    """Error codes of RST_STREAM and GOAWAY (RFC 9113, 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ProtocolError(Exception):
    """A violation of HTTP/2 by the server. `code` is sent in the GOAWAY; the connection is unusable.

    The message never holds octets of the peer, only numbers.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame. `payload` is at most MAX_FRAME_BYTES octets."""
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream_id) + payload


def headers(stream_id: int, block: bytes) -> bytes:
    """Return HEADERS without END_STREAM, and CONTINUATION for a block longer than a frame (6.2, 6.10)."""
    if len(block) <= MAX_FRAME_BYTES:
        return frame(HEADERS, END_HEADERS, stream_id, block)
    parts = [block[at : at + MAX_FRAME_BYTES] for at in range(0, len(block), MAX_FRAME_BYTES)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if at else HEADERS, END_HEADERS if at == last else 0, stream_id, part)
        for at, part in enumerate(parts)
    )


def data(stream_id: int, payload: bytes, *, end: bool) -> bytes:
    """Return DATA frames of at most MAX_FRAME_BYTES octets, the last with END_STREAM if `end` (6.1)."""
    flag = END_STREAM if end else 0
    if len(payload) <= MAX_FRAME_BYTES:
        return frame(DATA, flag, stream_id, payload)
    parts = [payload[at : at + MAX_FRAME_BYTES] for at in range(0, len(payload), MAX_FRAME_BYTES)]
    last = len(parts) - 1
    return b"".join(frame(DATA, flag if at == last else 0, stream_id, part) for at, part in enumerate(parts))


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Return SETTINGS with (identifier, value) pairs (6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield the (identifier, value) pairs of a SETTINGS payload, whose length is a multiple of six."""
    return _SETTING.iter_unpack(payload)


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """Return RST_STREAM (6.4)."""
    return frame(RST_STREAM, 0, stream_id, _LONG.pack(code))


def window_update(stream_id: int, octets: int) -> bytes:
    """Return WINDOW_UPDATE; stream 0 is the connection (6.9)."""
    return frame(WINDOW_UPDATE, 0, stream_id, _LONG.pack(octets))


def ping(opaque: bytes, *, ack: bool = False) -> bytes:
    """Return PING with its eight octets, or with `ack` the answer to it (6.7)."""
    return frame(PING, ACK if ack else 0, 0, opaque)


def goaway(code: ErrorCode) -> bytes:
    """Return the GOAWAY of a client. Its last stream id is 0: a server begins no streams here (6.8)."""
    return frame(GOAWAY, 0, 0, _LONG.pack(0) + _LONG.pack(code))


def long_at(payload: bytes, at: int = 0) -> int:
    """Return the 32-bit number at offset `at`."""
    value: int = _LONG.unpack_from(payload, at)[0]
    return value


def check_size(payload: bytes, size: int) -> None:
    """Raise ProtocolError (FRAME_SIZE_ERROR) unless the payload has `size` octets."""
    if len(payload) != size:
        raise ProtocolError("a frame of a bad size", ErrorCode.FRAME_SIZE_ERROR)


SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0)
