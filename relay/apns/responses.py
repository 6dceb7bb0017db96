"""From the octets of APNs's answers to `Answer` values: header blocks and JSON bodies.

**Header blocks.** We announce SETTINGS_HEADER_TABLE_SIZE = 0. A server that obeys must begin its first block
with a size update to 0 (RFC 7541, 4.2); from then on its dynamic table is empty and stays so, since only
another size update – which can only stand at the start of a block – could change that. So while the table's
size is 0, a block that starts with 0x88 (static index 8, `:status: 200`) needs no further look: nothing in it
can change what a later block means. Every other block goes through an `hpack.Decoder`. A server that never
sends the update may use a table of 4096 octets (the default), so all its blocks go through the decoder from
the first one on, and the table is right at any time.

**Bodies.** Parsed tolerantly: whatever isn't the JSON object Apple describes is an answer without a reason.
"""

from __future__ import annotations

import json
import re
from typing import Final

from hpack import Decoder
from hpack.exceptions import HPACKError

from relay.apns.frames import ErrorCode, ProtocolError
from relay.core.delivery.sending import DELIVERED, Answer, Fate

BODY_MAX: Final = 4_096
"""Octets of an error body that are kept; Apple's have about 40."""
BLOCK_MAX: Final = 16_384
"""Octets of a header block, and of its fields, that are taken before the server is cut off."""

_REASON: Final = re.compile(r"[A-Za-z0-9_. -]{1,64}")


class HeaderReader:
    """The header decoder of one connection; `stateless` while the server's dynamic table has size 0."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=BLOCK_MAX)
        self.stateless = False

    def read(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of a header block, in order. Raises ProtocolError (COMPRESSION_ERROR) if it can't be
        decoded."""
        try:
            fields = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise ProtocolError("undecodable header block", ErrorCode.COMPRESSION_ERROR) from error
        self.stateless = self._decoder.header_table_size == 0
        return [(bytes(name), bytes(value)) for name, value in fields]


def json_reason(body: bytes) -> tuple[str, int | None]:
    """Apple's (reason, timestamp in epoch ms) from an error body or GOAWAY debug data; ("", None) if there is
    none."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(content, dict):
        return "", None
    reason, timestamp = content.get("reason"), content.get("timestamp")
    # A reason becomes a log line and a metric label: take none that wouldn't be one of Apple's names.
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        reason = ""
    if not isinstance(timestamp, int) or isinstance(timestamp, bool) or not 0 <= timestamp < 2**63:
        timestamp = None
    return reason, timestamp


def answer(status: int, body: bytes, unique_id: str | None = None) -> Answer:
    """What an HTTP status and body say."""
    if status == 200:
        return DELIVERED if unique_id is None else Answer(Fate.ANSWERED, 200, unique_id=unique_id)
    reason, timestamp = json_reason(body)
    return Answer(Fate.ANSWERED, status, reason, timestamp, unique_id)
