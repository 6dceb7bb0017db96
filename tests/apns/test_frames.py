"""Frames against other implementations: constants of h2 and hyperframe, octets of hyperframe."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe import frame as hf

from relay.apns import frames
from relay.apns.frames import ErrorCode, ProtocolError


def test_error_codes_are_those_of_rfc_9113() -> None:
    assert {code.name: code.value for code in ErrorCode} == {code.name: code.value for code in ErrorCodes}


@pytest.mark.parametrize(
    "name",
    [
        "HEADER_TABLE_SIZE",
        "ENABLE_PUSH",
        "MAX_CONCURRENT_STREAMS",
        "INITIAL_WINDOW_SIZE",
        "MAX_FRAME_SIZE",
        "MAX_HEADER_LIST_SIZE",
    ],
)
def test_identifiers_of_settings(name: str) -> None:
    assert getattr(frames, name) == SettingCodes[name]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("DATA", hf.DataFrame),
        ("HEADERS", hf.HeadersFrame),
        ("PRIORITY", hf.PriorityFrame),
        ("RST_STREAM", hf.RstStreamFrame),
        ("SETTINGS", hf.SettingsFrame),
        ("PUSH_PROMISE", hf.PushPromiseFrame),
        ("PING", hf.PingFrame),
        ("GOAWAY", hf.GoAwayFrame),
        ("WINDOW_UPDATE", hf.WindowUpdateFrame),
        ("CONTINUATION", hf.ContinuationFrame),
    ],
)
def test_types_of_frames(name: str, kind: type[hf.Frame]) -> None:
    assert getattr(frames, name) == kind.type


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (frames.reset(7, ErrorCode.CANCEL), hf.RstStreamFrame(7, error_code=8)),
        (frames.window_update(0, 70_000), hf.WindowUpdateFrame(0, window_increment=70_000)),
        (frames.window_update(9, 1), hf.WindowUpdateFrame(9, window_increment=1)),
        (frames.ping(b"12345678"), hf.PingFrame(0, b"12345678")),
        (frames.ping(b"12345678", ack=True), hf.PingFrame(0, b"12345678", flags=["ACK"])),
        (frames.goaway(ErrorCode.PROTOCOL_ERROR), hf.GoAwayFrame(0, last_stream_id=0, error_code=1)),
        (frames.settings([(1, 0), (6, 9)]), hf.SettingsFrame(0, settings={1: 0, 6: 9})),
        (frames.SETTINGS_ACK, hf.SettingsFrame(0, flags=["ACK"])),
        (frames.headers(5, b"abc"), hf.HeadersFrame(5, b"abc", flags=["END_HEADERS"])),
        (frames.data(5, b"abc", end=True), hf.DataFrame(5, b"abc", flags=["END_STREAM"])),
        (frames.data(5, b"abc", end=False), hf.DataFrame(5, b"abc")),
        (frames.data(5, b"x" * 16_384, end=True), hf.DataFrame(5, b"x" * 16_384, flags=["END_STREAM"])),
    ],
    ids=[*"abcdefghijkl"],  # names of tests must not depend on the octets
)
def test_octets_are_those_of_hyperframe(built: bytes, expected: hf.Frame) -> None:
    assert built == expected.serialize()


def test_long_headers_and_data_are_cut_at_the_largest_frame() -> None:
    block = bytes(range(256)) * 130  # 33,280 octets
    assert frames.headers(3, block) == b"".join(
        [
            hf.HeadersFrame(3, block[:16_384]).serialize(),
            hf.ContinuationFrame(3, block[16_384:32_768]).serialize(),
            hf.ContinuationFrame(3, block[32_768:], flags=["END_HEADERS"]).serialize(),
        ]
    )
    for end in (True, False):
        flags = ["END_STREAM"] if end else []
        assert frames.data(3, block, end=end) == b"".join(
            [
                hf.DataFrame(3, block[:16_384]).serialize(),
                hf.DataFrame(3, block[16_384:32_768]).serialize(),
                hf.DataFrame(3, block[32_768:], flags=flags).serialize(),
            ]
        )


def test_the_text_of_a_protocol_error_is_its_message() -> None:
    assert str(ProtocolError("PUSH_PROMISE", ErrorCode.CANCEL)) == "PUSH_PROMISE"
    assert ProtocolError("PUSH_PROMISE").code is ErrorCode.PROTOCOL_ERROR


def test_sizes() -> None:
    frames.check_size(b"1234", 4)
    for payload in (b"123", b"12345"):
        with pytest.raises(ProtocolError) as caught:
            frames.check_size(payload, 4)
        assert caught.value.code == ErrorCode.FRAME_SIZE_ERROR
    assert frames.long_at(b"\0\0\0\0\x01\x02\x03\x04", 4) == 0x01020304
    assert (frames.MAX_STREAM_ID, frames.MAX_WINDOW_BYTES) == (2_147_483_647, 2_147_483_647)
    assert (frames.MAX_FRAME_BYTES, frames.DEFAULT_WINDOW_BYTES, frames.HEAD_BYTES) == (16_384, 65_535, 9)
