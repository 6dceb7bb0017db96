"""HTTP/2 frames as octets (RFC 9113, sections 4 and 6): constants, builders, and the codec's one exception.

Nothing here has state. A frame is nine octets of head (24 bits of length, 8 of type, 8 of flags, 32 of stream
id) and a payload; `HEAD` reads a head in one call.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113, 3.4)."""

HEAD_SIZE: Final = 9
FRAME_MAX: Final = 16_384
"""Octets of payload every peer must take (4.2). We never send larger frames, whatever SETTINGS_MAX_FRAME_SIZE
allows, and never announce a larger size, so larger frames are an error of the peer."""
WINDOW_DEFAULT: Final = 65_535
WINDOW_MAX: Final = 2**31 - 1
STREAM_ID_MAX: Final = 2**31 - 1

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
    """Why a stream or connection ended (RFC 9113, 7)."""

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
    """The server broke HTTP/2. `code` goes into our GOAWAY; the connection can't be used any more.

    The message never holds octets of the peer, only numbers.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame. `payload` is at most FRAME_MAX octets."""
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream_id) + payload


def headers(stream_id: int, block: bytes) -> bytes:
    """HEADERS without END_STREAM, followed by CONTINUATION if the block is longer than a frame (6.2,
    6.10)."""
    if len(block) <= FRAME_MAX:
        return frame(HEADERS, END_HEADERS, stream_id, block)
    parts = [block[at : at + FRAME_MAX] for at in range(0, len(block), FRAME_MAX)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if at else HEADERS, END_HEADERS if at == last else 0, stream_id, part)
        for at, part in enumerate(parts)
    )


def data(stream_id: int, payload: bytes, *, end: bool) -> bytes:
    """DATA frames of at most FRAME_MAX octets, the last with END_STREAM if `end` (6.1)."""
    flag = END_STREAM if end else 0
    if len(payload) <= FRAME_MAX:
        return frame(DATA, flag, stream_id, payload)
    parts = [payload[at : at + FRAME_MAX] for at in range(0, len(payload), FRAME_MAX)]
    last = len(parts) - 1
    return b"".join(frame(DATA, flag if at == last else 0, stream_id, part) for at, part in enumerate(parts))


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """SETTINGS with (identifier, value) pairs (6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The (identifier, value) pairs of a SETTINGS payload whose length is a multiple of six."""
    return _SETTING.iter_unpack(payload)


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """RST_STREAM (6.4)."""
    return frame(RST_STREAM, 0, stream_id, _LONG.pack(code))


def window_update(stream_id: int, octets: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection (6.9)."""
    return frame(WINDOW_UPDATE, 0, stream_id, _LONG.pack(octets))


def ping(opaque: bytes, *, ack: bool = False) -> bytes:
    """PING with its eight octets, or the answer to one (6.7)."""
    return frame(PING, ACK if ack else 0, 0, opaque)


def goaway(code: ErrorCode) -> bytes:
    """GOAWAY of a client: no stream of the server's was ever processed (6.8)."""
    return frame(GOAWAY, 0, 0, _LONG.pack(0) + _LONG.pack(code))


def long_at(payload: bytes, at: int = 0) -> int:
    """The 32-bit number at an offset."""
    value: int = _LONG.unpack_from(payload, at)[0]
    return value


def check_size(payload: bytes, size: int) -> None:
    """Raise ProtocolError (FRAME_SIZE_ERROR) unless the payload has that many octets."""
    if len(payload) != size:
        raise ProtocolError("a frame of a bad size", ErrorCode.FRAME_SIZE_ERROR)


SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0)
