"""Decoding of APNs's answers into `Answer` values: header blocks and JSON bodies.

**Header blocks.** The relay announces SETTINGS_HEADER_TABLE_SIZE = 0. A server that obeys must begin its first block
with a size update to 0 (RFC 7541, 4.2). From then on its dynamic table is empty, until another size update, which can
only stand at the start of a block. So while the table's size is 0, a block that starts with 0x88 (static index 8,
`:status: 200`) needs no decoding: nothing in it can change the meaning of a later block. Every other block goes through
an `hpack.Decoder`. A server that never sends the update may use a table of 4096 octets (the default), so all its blocks
go through the decoder from the first one on, and the table is always correct.

**Bodies.** Parsed tolerantly: a body that is not the JSON object described by Apple is an answer without a reason.
"""

from __future__ import annotations

import json
import re
from typing import Final

from hpack import Decoder
from hpack.exceptions import HPACKError

from relay.apns.frames import ErrorCode, ProtocolError
from relay.core.delivery.sending import DELIVERED, Answer, Fate

MAX_BODY_BYTES: Final = 4_096
"""Octets of an error body that are read; Apple's bodies have about 40."""
MAX_BLOCK_BYTES: Final = 16_384
"""Limit of a header block, and of its fields; the connection is closed above it."""

_REASON: Final = re.compile(r"[A-Za-z0-9_. -]{1,64}")


class HeaderReader:
    """The header decoder of a connection. `stateless` is True while the server's dynamic table has size 0."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MAX_BLOCK_BYTES)
        self.stateless = False

    def read(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Return the fields of a header block, in order. Raises ProtocolError (COMPRESSION_ERROR)."""
        try:
            fields = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise ProtocolError("undecodable header block", ErrorCode.COMPRESSION_ERROR) from error
        self.stateless = self._decoder.header_table_size == 0
        return [(bytes(name), bytes(value)) for name, value in fields]


def json_reason(body: bytes) -> tuple[str, int | None]:
    """Return Apple's (reason, timestamp in epoch ms) from an error body or GOAWAY debug data; else ("", None)."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(content, dict):
        return "", None
    reason, timestamp = content.get("reason"), content.get("timestamp")
    # A reason becomes a log line and a metric label: accept only the form of Apple's names.
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        reason = ""
    if not isinstance(timestamp, int) or isinstance(timestamp, bool) or not 0 <= timestamp < 2**63:
        timestamp = None
    return reason, timestamp


def answer(status: int, body: bytes, unique_id: str | None = None) -> Answer:
    """Return the answer that an HTTP status and body stand for."""
    if status == 200:
        return DELIVERED if unique_id is None else Answer(Fate.ANSWERED, 200, unique_id=unique_id)
    reason, timestamp = json_reason(body)
    return Answer(Fate.ANSWERED, status, reason, timestamp, unique_id)
