"""Encoding of a batch as the octets of its requests (RFC 7541; Apple, "Sending notification requests to APNs").

All pushes of a batch share payload and headers; only `:path`, topic and `apns-id` differ. A store that signs every
copy has nearly as many topics as copies. So the HEADERS and DATA frames of a push are a `Shape`, built once per length
of token and topic, with gaps for the variable parts:

    head | stream id | before | token | middle | topic | after | apns-id | DATA head | stream id | payload

Every field is a literal: "never indexed" for secrets (path with the device token, authorization), "without indexing"
for the others, with static names only and no Huffman coding. There is no dynamic table: the first block of a
connection carries a size update to 0 (`NO_TABLE`), so SETTINGS_HEADER_TABLE_SIZE of the server has no effect.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from relay.apns import frames
from relay.core.delivery.sending import SendBatch
from relay.core.push.apns_headers import PushHeaders

NO_TABLE: Final = b"\x20"
"""Dynamic table size update to 0 (RFC 7541, 6.3)."""

_POST_HTTPS: Final = b"\x83\x87"
_AUTHORITY: Final = 1
_PATH: Final = 4
_AUTHORIZATION: Final = 23
_PLAIN: Final = 0x00
_NEVER: Final = 0x10
_PREFIX: Final = b"/3/device/"
_MAX_SHAPES: Final = 1_024


def integer(value: int, bits: int, pattern: int = 0) -> bytes:
    """Return a number with a prefix of `bits` bits; `pattern` holds the bits above it (RFC 7541, 5.1)."""
    full = (1 << bits) - 1
    if value < full:
        return bytes((pattern | value,))
    out = bytearray((pattern | full,))
    value -= full
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def indexed_name(pattern: int, index: int, value: bytes) -> bytes:
    """Return a literal field whose name is in the static table (RFC 7541, 6.2.2, 6.2.3)."""
    return integer(index, 4, pattern) + integer(len(value), 7) + value


def literal(name: bytes, value: bytes) -> bytes:
    """Return a literal field without indexing, with a literal name (RFC 7541, 6.2.2)."""
    return _until_value(name, len(value)) + value


def _until_value(name: bytes, size: int) -> bytes:
    """Return a literal field without indexing up to its value, which has `size` octets and is left out."""
    return bytes((_PLAIN,)) + integer(len(name), 7) + name + integer(size, 7)


class Shape(NamedTuple):
    """The constant octets of a request. `head` is the head of the HEADERS frame without its stream id."""

    head: bytes
    before: bytes
    middle: bytes
    after: bytes
    oversize: bool
    """True if the block is longer than a frame: it needs CONTINUATION, and `head` is invalid."""

    def block(self, token: bytes, topic: bytes, apns_id: bytes) -> bytes:
        """Return the header block of a push."""
        return self.before + token + self.middle + topic + self.after + apns_id


class RequestEncoder:
    """The shapes of a connection's requests, cached: small batches tend to share them.

    `authority` is the host, and the port if it is not 443.
    """

    def __init__(self, authority: str) -> None:
        self._start = _POST_HTTPS + indexed_name(_PLAIN, _AUTHORITY, authority.encode("ascii"))
        self._shapes: dict[tuple[PushHeaders, bytes, int, int, int], Shape] = {}

    def forget_shapes(self) -> None:
        """Let go of all shapes: the next batch on this connection may be hours away, and look different."""
        self._shapes.clear()

    def shape(
        self, headers: PushHeaders, authorization: bytes, token_size: int, topic_size: int, apns_id_size: int
    ) -> Shape:
        """Return the shape for device tokens, topics and apns-ids of these lengths (bytes).

        `authorization` is b"" with a certificate.
        """
        key = (headers, authorization, token_size, topic_size, apns_id_size)
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _MAX_SHAPES:  # expirations and JWTs change: old shapes are not used again
                self._shapes.clear()
            shape = self._shapes[key] = self._build_shape(*key)
        return shape

    def _build_shape(
        self, headers: PushHeaders, authorization: bytes, token_size: int, topic_size: int, apns_id_size: int
    ) -> Shape:
        before = self._start + integer(_PATH, 4, _NEVER) + integer(len(_PREFIX) + token_size, 7) + _PREFIX
        middle = indexed_name(_NEVER, _AUTHORIZATION, authorization) if authorization else b""
        middle += _until_value(b"apns-topic", topic_size)
        fields = [
            literal(b"apns-push-type", headers.push_type.encode()),
            literal(b"apns-priority", b"%d" % headers.priority),
        ]
        if headers.expiration is not None:
            fields.append(literal(b"apns-expiration", b"%d" % headers.expiration))
        if headers.collapse_id is not None:
            fields.append(literal(b"apns-collapse-id", headers.collapse_id.encode()))
        after = b"".join(fields) + _until_value(b"apns-id", apns_id_size)
        size = len(before) + token_size + len(middle) + topic_size + len(after) + apns_id_size
        head = size.to_bytes(3, "big")[-3:] + bytes((frames.HEADERS, frames.END_HEADERS))
        return Shape(head, before, middle, after, size > frames.MAX_FRAME_BYTES)


def encode(
    encoder: RequestEncoder, batch: SendBatch, authorization: bytes, start: int, stop: int, stream_id: int
) -> list[bytes]:
    """Return HEADERS and DATA of the pushes `start` to `stop` - 1, one item each, on consecutive streams.

    `stream_id` is the first stream. The payload must fit into one frame and into the windows.
    """
    tokens, apns_ids, topics = batch.device_tokens, batch.apns_ids, batch.topics
    payload, headers = batch.payload, batch.headers
    data_head = len(payload).to_bytes(3, "big") + bytes((frames.DATA, frames.END_STREAM))
    out = []
    token_size, topic_size, apns_id_size = -1, -1, -1
    oversize, head, before, middle, after = False, b"", b"", b"", b""
    for at in range(start, stop):
        token = tokens[at].encode()
        topic = topics[at].encode()
        apns_id = apns_ids[at].encode()
        if len(topic) != topic_size or len(token) != token_size or len(apns_id) != apns_id_size:
            token_size, topic_size, apns_id_size = len(token), len(topic), len(apns_id)
            shape = encoder.shape(headers, authorization, token_size, topic_size, apns_id_size)
            head, before, middle, after, oversize = shape
        sid = stream_id.to_bytes(4, "big")
        if oversize:
            block = before + token + middle + topic + after + apns_id
            out.append(frames.headers(stream_id, block) + data_head + sid + payload)
        else:
            out.append(
                b"%b%b%b%b%b%b%b%b%b%b%b"
                % (head, sid, before, token, middle, topic, after, apns_id, data_head, sid, payload)
            )
        stream_id += 2
    return out


def encode_block(encoder: RequestEncoder, batch: SendBatch, authorization: bytes, index: int) -> bytes:
    """Return the header block of the push `index`."""
    token = batch.device_tokens[index].encode()
    topic = batch.topics[index].encode()
    apns_id = batch.apns_ids[index].encode()
    shape = encoder.shape(batch.headers, authorization, len(token), len(topic), len(apns_id))
    return shape.block(token, topic, apns_id)
