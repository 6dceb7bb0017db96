"""The octets of requests, decoded by hpack, and the number of cached shapes."""

from __future__ import annotations

import pytest
from hpack import Decoder

from relay.apns.requests import _MAX_SHAPES, RequestEncoder, encode, encode_block, integer
from relay.core.push.apns_headers import PushHeaders
from tests.apns.dialogue import parse
from tests.factories import make_send_batch


@pytest.mark.parametrize(
    ("value", "bits", "pattern", "octets"),
    [
        (10, 5, 0, "0a"),  # RFC 7541, C.1.1
        (1337, 5, 0, "1f9a0a"),  # C.1.2
        (42, 8, 0, "2a"),  # C.1.3
        (30, 5, 0, "1e"),
        (31, 5, 0, "1f00"),
        (31 + 127, 5, 0, "1f7f"),
        (31 + 128, 5, 0, "1f8001"),
        (4, 4, 0x10, "14"),
        (23, 4, 0x10, "1f08"),
    ],
)
def test_numbers(value: int, bits: int, pattern: int, octets: str) -> None:
    assert integer(value, bits, pattern).hex() == octets


def decoded(encoder: RequestEncoder, headers: PushHeaders, authorization: bytes) -> list[tuple[str, str]]:
    batch = make_send_batch(
        headers=headers, device_tokens=["ab" * 32], apns_ids=["id"], topics=["com.example.app"]
    )
    block = encode_block(encoder, batch, authorization, 0)
    return [(str(name), str(value)) for name, value in Decoder().decode(block)]


def test_every_header_and_only_those_that_are_set() -> None:
    encoder = RequestEncoder("api.push.apple.com")
    always = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "api.push.apple.com"),
        (":path", "/3/device/" + "ab" * 32),
    ]
    full = PushHeaders("background", 5, 1_700_000_000, "score")
    assert decoded(encoder, full, b"bearer x") == [
        *always,
        ("authorization", "bearer x"),
        ("apns-topic", "com.example.app"),
        ("apns-push-type", "background"),
        ("apns-priority", "5"),
        ("apns-expiration", "1700000000"),
        ("apns-collapse-id", "score"),
        ("apns-id", "id"),
    ]
    assert decoded(encoder, PushHeaders("alert", 10), b"") == [
        *always,
        ("apns-topic", "com.example.app"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-id", "id"),
    ]


def test_secrets_are_never_indexed() -> None:
    """Path (with the device token) and authorization: RFC 7541, 6.2.3; the rest is without indexing, 6.2.2."""
    batch = make_send_batch()
    block = encode_block(RequestEncoder("a"), batch, b"bearer x", 0)
    fields = list(Decoder().decode(block, raw=True))
    hidden = {bytes(field[0]) for field in fields if not field.indexable}
    assert {b":path", b"authorization"} <= hidden
    assert block.index(b"\x14") < block.index(b"/3/device/")
    assert b"\x1f\x08" in block
    assert not any(octet & 0x40 for octet in (block[2], block[block.index(b"apns-topic") - 2]))


def test_the_number_of_cached_shapes_is_bounded() -> None:
    encoder = RequestEncoder("api.push.apple.com")
    for expiration in range(_MAX_SHAPES):
        encoder.shape(PushHeaders("alert", 10, expiration), b"", 64, 15, 36)
    first = encoder.shape(PushHeaders("alert", 10, 0), b"", 64, 15, 36)
    assert first is encoder.shape(PushHeaders("alert", 10, 0), b"", 64, 15, 36)
    assert len(encoder._shapes) == _MAX_SHAPES
    encoder.shape(PushHeaders("alert", 10, _MAX_SHAPES), b"", 64, 15, 36)
    assert len(encoder._shapes) == 1
    assert encoder.shape(PushHeaders("alert", 10, 0), b"", 64, 15, 36) == first


def test_device_tokens_topics_and_ids_of_any_length_in_one_batch() -> None:
    """A shape is for one length of each: a change of any of the three needs another."""
    tokens, topics, ids = ["aa", "bbbb", "bbbb", "bbbb"], ["t", "t", "topic", "topic"], ["i", "i", "i", "id"]
    batch = make_send_batch(size=4, payload=b"{}", device_tokens=tokens, topics=topics, apns_ids=ids)
    octets = b"".join(encode(RequestEncoder("a"), batch, b"", 0, 4, 5))
    sent = parse(octets)
    assert [frame.stream_id for frame in sent] == [5, 5, 7, 7, 9, 9, 11, 11]
    fields = [{str(n): str(v) for n, v in Decoder().decode(frame.data)} for frame in sent[::2]]
    assert [field[":path"] for field in fields] == [f"/3/device/{token}" for token in tokens]
    assert [field["apns-topic"] for field in fields] == topics
    assert [field["apns-id"] for field in fields] == ids
    assert [(frame.data, set(frame.flags)) for frame in sent[1::2]] == [(b"{}", {"END_STREAM"})] * 4
