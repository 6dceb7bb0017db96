"""The codec, rule by rule, with sections of RFC 9113."""

from __future__ import annotations

import struct

import pytest
from hpack import Encoder
from hyperframe import frame as hf

from relay.apns import frames
from relay.apns.frames import ErrorCode, ProtocolError
from relay.apns.streams import (
    ConnectionOpened,
    ConnectionUnusable,
    GoAwayReceived,
    PingAnswered,
    TokenUpdatesLimited,
)
from relay.apns.wire import DEFAULT_STREAMS, Phase, Wire
from relay.core.delivery.sending import DELIVERED, Answer, Fate
from relay.core.push.apns_headers import PushHeaders
from tests.apns.dialogue import ALL, Dialogue, parse, short

# Opening


def test_preface() -> None:
    talk = Dialogue()
    settings, window = talk.first
    assert settings.settings == {1: 0, 2: 0, 6: 16_384}
    assert (window.stream_id, window.window_increment) == (0, (1 << 20) - 65_535)


def test_settings_may_arrive_before_anything_is_written() -> None:
    wire = Wire("api.example", one_first=False)
    assert wire.end_reason == ""
    wire.receive(hf.SettingsFrame(0, settings={}).serialize())
    settings, window, ack = parse(wire.send(ALL))
    assert [type(settings), type(window), set(ack.flags)] == [
        hf.SettingsFrame,
        hf.WindowUpdateFrame,
        {"ACK"},
    ]


def test_nothing_leaves_before_settings() -> None:
    talk = Dialogue()
    batch = talk.submit(3)
    assert talk.sent() == []
    talk.settings({})
    assert talk.events() == [ConnectionOpened()]
    [ack, *rest] = talk.sent()
    assert "ACK" in ack.flags
    assert len(rest) == 6
    assert short(batch) == ["-"] * 3


@pytest.mark.parametrize("greeting", [{}, {1: 4_096}])
def test_one_stream_until_the_first_answer(greeting: dict[int, int]) -> None:
    """Token authentication, and SETTINGS that name no number of streams."""
    talk = Dialogue(greeting, one_first=True)
    talk.submit(3_000)
    assert talk.begun() == [1]
    talk.answer(1)
    assert len(talk.begun()) == DEFAULT_STREAMS


def test_settings_override_the_single_first_stream() -> None:
    talk = Dialogue({3: 7}, one_first=True)
    talk.submit(50)
    assert len(talk.begun()) == 7


def test_first_frame_must_be_settings() -> None:
    talk = Dialogue()
    with pytest.raises(ProtocolError):
        talk.frame(hf.PingFrame(0, b"12345678"))


@pytest.mark.parametrize("greeting", [{}, {3: 7}])
def test_the_streams_that_the_server_grants(greeting: dict[int, int]) -> None:
    assert Dialogue(greeting).wire.granted == greeting.get(3)


def test_settings_that_come_while_it_drains_open_nothing() -> None:
    talk = Dialogue()
    talk.wire.drain("Closed")
    talk.settings({})
    assert talk.events() == [ConnectionOpened()]
    assert talk.wire.phase is Phase.DRAINING
    assert short(talk.submit()) == ["not_sent Closed"]
    assert talk.wire.queued == 0


def test_not_http2_at_all() -> None:
    talk = Dialogue()
    with pytest.raises(ProtocolError):
        talk.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")


# Requests


def test_request() -> None:
    talk = Dialogue({})
    headers = PushHeaders("liveactivity", 5, 1_900_000_000, "größe")
    batch = talk.submit(2, b'{"aps":{}}', headers=headers, topics=["com.example.a", "com.example.b"])
    sent = talk.sent()
    assert [type(frame).__name__ for frame in sent] == ["HeadersFrame", "DataFrame"] * 2
    for at in (0, 1):
        head, body = sent[2 * at : 2 * at + 2]
        assert head.flags == {"END_HEADERS"}
        assert talk.decoder.decode(head.data) == [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "api.example"),
            (":path", f"/3/device/{batch.device_tokens[at]}"),
            ("authorization", "bearer x"),
            ("apns-topic", batch.topics[at]),
            ("apns-push-type", "liveactivity"),
            ("apns-priority", "5"),
            ("apns-expiration", "1900000000"),
            ("apns-collapse-id", "größe"),
            ("apns-id", batch.apns_ids[at]),
        ]
        assert (body.data, body.flags) == (b'{"aps":{}}', {"END_STREAM"})


def test_secrets_are_never_indexed() -> None:
    """RFC 7541, 7.1.3: no proxy may put them into a table."""
    talk = Dialogue({})
    talk.submit()
    fields = talk.decoder.decode(talk.sent()[0].data, raw=True)
    kept = {bytes(field[0]) for field in fields if not field.indexable}
    assert kept == {b":path", b"authorization"}


def test_first_block_gives_up_the_table() -> None:
    """So SETTINGS_HEADER_TABLE_SIZE of the server has no effect (RFC 7541, 4.2)."""
    talk = Dialogue({})
    talk.submit(2)
    first, _, second, _ = talk.sent()
    assert first.data[:1] == b"\x20"
    assert second.data[:1] == b"\x83"


def test_oversize_block_is_continued() -> None:
    talk = Dialogue({})
    talk.submit(device_tokens=["ab"], topics=["t"])
    talk.submit(device_tokens=["ab" * 20_000], topics=["t"])
    _, _, head, *more, body = talk.sent()
    assert "END_HEADERS" not in head.flags
    assert [type(frame) for frame in more] == [hf.ContinuationFrame] * 2
    assert "END_HEADERS" in more[-1].flags
    assert max(len(frame.data) for frame in (head, *more)) <= 16_384
    fields = dict(talk.decoder.decode(b"".join(frame.data for frame in (head, *more))))
    assert fields[":path"] == "/3/device/" + "ab" * 20_000
    assert "END_STREAM" in body.flags


def test_oversize_payload_is_cut() -> None:
    talk = Dialogue({4: 100_000})
    talk.window(0, 100_000)
    talk.submit(2, b"x" * 40_000)
    bodies = [frame for frame in talk.sent() if isinstance(frame, hf.DataFrame)]
    assert [len(frame.data) for frame in bodies] == [16_384, 16_384, 7_232] * 2
    assert ["END_STREAM" in frame.flags for frame in bodies] == [False, False, True] * 2


def test_flights_take_turns() -> None:
    talk = Dialogue({})
    long, brief = talk.submit(2_000), talk.submit(1)
    begun = talk.begun(300 * 500)
    for stream_id in begun:
        talk.answer(stream_id)
    assert short(brief) == ["200"]
    assert 250 < short(long).count("200") < 600
    while stream_ids := talk.begun():
        for stream_id in reversed(stream_ids):
            talk.answer(stream_id)
    assert long.answers == [DELIVERED] * 2_000
    assert talk.ended() == 2


def test_one_write_is_bounded() -> None:
    talk = Dialogue({})
    talk.submit(1_000, b"x" * 500)
    assert 50_000 < len(talk.wire.send(100_000)) < 110_000


# SETTINGS (6.5)


def test_streams_up_and_down() -> None:
    talk = Dialogue({3: 4})
    batch = talk.submit(100)
    assert talk.begun() == [1, 3, 5, 7]
    talk.settings({3: 1})
    talk.answer(3)
    talk.answer(5)
    talk.answer(7)
    assert talk.begun() == []
    talk.answer(1)
    assert talk.begun() == [9]
    talk.settings({3: 0})
    talk.answer(9)
    assert talk.begun() == []
    talk.settings({3: 1_000})
    assert len(talk.begun()) == 95
    assert short(batch).count("200") == 5


def test_huge_grant_is_capped() -> None:
    talk = Dialogue({3: 2**32 - 1})
    assert talk.wire.capacity == 10_000


def test_settings_are_acknowledged() -> None:
    talk = Dialogue({})
    talk.settings({1: 100, 6: 5, 0x99: 7})
    [ack] = talk.sent()
    assert isinstance(ack, hf.SettingsFrame)
    assert "ACK" in ack.flags


def test_window_can_become_negative() -> None:
    talk = Dialogue({4: 1_000})
    talk.submit(1, b"x" * 3_000)
    _, body = talk.sent()
    assert len(body.data) == 1_000
    talk.settings({4: 400})  # -600
    talk.window(1, 600)  # 0
    assert [type(frame) for frame in talk.sent()] == [hf.SettingsFrame]
    talk.window(1, 500)
    assert [len(frame.data) for frame in talk.sent()] == [500]
    talk.settings({4: 2_000})  # + 1600
    assert [len(frame.data) for frame in talk.sent() if isinstance(frame, hf.DataFrame)] == [1_500]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({4: 2**31}, ErrorCode.FLOW_CONTROL_ERROR),
        ({2: 1}, ErrorCode.PROTOCOL_ERROR),
        ({5: 16_383}, ErrorCode.PROTOCOL_ERROR),
        ({5: 1 << 24}, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_bad_settings(values: dict[int, int], code: ErrorCode) -> None:
    talk = Dialogue({})
    octets = b"".join(struct.pack(">HL", *pair) for pair in values.items())
    with pytest.raises(ProtocolError) as caught:
        talk.raw(frames.frame(frames.SETTINGS, 0, 0, octets))
    assert caught.value.code == code


# Flow control (5.2, 6.9)


def test_connection_window_is_kept() -> None:
    talk = Dialogue({4: 2**31 - 1})
    batch = talk.submit(100, b"x" * 1_000)
    bodies = [frame for frame in talk.sent() if isinstance(frame, hf.DataFrame)]
    assert sum(len(frame.data) for frame in bodies) == 65_535
    assert talk.wire.in_flight == 66  # the last one in part
    assert talk.begun() == []
    talk.window(0, 465)
    assert [frame.stream_id for frame in talk.sent()] == [131]
    talk.window(0, 40_000)
    assert len(talk.begun()) == 34
    assert short(batch) == ["-"] * 100


def test_empty_payload_needs_no_window() -> None:
    talk = Dialogue({4: 0})
    talk.submit(2, b"")
    assert [len(frame.data) for frame in talk.sent() if isinstance(frame, hf.DataFrame)] == [0, 0]


def test_no_stream_window_at_first() -> None:
    talk = Dialogue({4: 0})
    talk.submit(1, b"abc")
    assert [type(frame) for frame in talk.sent()] == [hf.HeadersFrame]
    talk.window(1, 3)
    [body] = talk.sent()
    assert (body.data, body.flags) == (b"abc", {"END_STREAM"})


def test_answers_give_the_window_back() -> None:
    talk = Dialogue({3: 10_000})
    talk.submit(1_000)
    given = 0
    body = b"x" * 5_000
    for stream_id in talk.begun():
        talk.answer(stream_id, 400, body)
        given += sum(frame.window_increment for frame in talk.sent() if frame.stream_id == 0)
    assert given >= 1_000 * 5_000 - (1 << 19)


def test_the_window_of_a_stream_is_given_back_by_halves() -> None:
    talk = Dialogue({})
    talk.submit()
    talk.sent()
    talk.headers(1, (":status", "500"), end=False)
    talk.data(1, bytes(16_384), end=False)
    talk.data(1, bytes(16_382), end=False)  # 32,766 of 65,535
    assert talk.sent() == []
    talk.data(1, bytes(1), end=False)
    [update] = talk.sent()
    assert (update.stream_id, update.window_increment) == (1, 32_767)
    talk.data(1, bytes(16_384), end=False)
    assert talk.sent() == []


def test_the_window_of_the_connection_is_given_back_by_halves() -> None:
    talk = Dialogue({})
    talk.submit(40)
    talk.sent()
    given = []
    for stream_id in range(1, 65, 2):  # 32 times 16,384 are half of the window
        talk.headers(stream_id, (":status", "500"), end=False)
        talk.data(stream_id, bytes(16_384))
        given += [(frame.stream_id, frame.window_increment) for frame in talk.sent()]
        assert given == ([(0, 1 << 19)] if stream_id == 63 else [])


def test_long_body_is_cut_but_read() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.headers(1, (":status", "500"), end=False)
    returned = 0
    for _ in range(100):
        talk.data(1, b" " * 10_000, end=False)
        returned += sum(frame.window_increment for frame in talk.sent() if frame.stream_id == 1)
    talk.data(1, b"{}")
    assert returned > 900_000
    assert short(batch) == ["500"]


def test_window_overflow_of_the_connection() -> None:
    talk = Dialogue({})
    with pytest.raises(ProtocolError) as caught:
        talk.window(0, 2**31 - 1)
    assert caught.value.code == ErrorCode.FLOW_CONTROL_ERROR


def test_window_overflow_of_a_stream_by_settings() -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE adds its difference to what WINDOW_UPDATE gave (6.9.2)."""
    talk = Dialogue({4: 10})
    talk.submit(1, b"x" * 30)
    talk.sent()
    talk.window(1, 10)
    talk.settings({4: 2**31 - 1})  # as large as a window can be
    talk.settings({4: 10})
    talk.window(1, 1)
    with pytest.raises(ProtocolError) as caught:
        talk.settings({4: 2**31 - 1})
    assert caught.value.code == ErrorCode.FLOW_CONTROL_ERROR


def test_window_overflow_of_a_stream_ends_it() -> None:
    talk = Dialogue({4: 10})
    batch = talk.submit(1, b"x" * 20)
    talk.sent()
    talk.window(1, 5)
    talk.window(1, 2**31 - 1)
    [reset] = [frame for frame in talk.sent() if isinstance(frame, hf.RstStreamFrame)]
    assert reset.error_code == ErrorCode.FLOW_CONTROL_ERROR
    assert short(batch) == ["unknown MalformedAnswer"]


# Answers (8.1)


def test_answers_in_any_order() -> None:
    talk = Dialogue({})
    batch = talk.submit(4)
    talk.sent()
    talk.answer(5, 410, b'{"reason": "Unregistered", "timestamp": 1700000000123}')
    talk.answer(1)
    talk.answer(7, 400, b'{"reason": "BadDeviceToken"}')
    assert talk.ended() == 0
    talk.answer(3)
    assert talk.ended() == 1
    assert short(batch) == ["200", "200", "410 Unregistered", "400 BadDeviceToken"]
    gone = batch.answers[2]
    assert gone is not None
    assert gone.timestamp_ms == 1_700_000_000_123
    assert batch.answers[0] is DELIVERED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        b"\xff\xfe",
        b'{"reason": 5}',
        b'{"reason": "a\\nb"}',
        b"9" * 4_000,
        b"[" * 4_000,
    ],
)
def test_body_without_reason(body: bytes) -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.answer(1, 403, body)
    assert short(batch) == ["403"]


@pytest.mark.parametrize("timestamp", [0, 2**63 - 1])
def test_timestamps_that_a_database_can_hold(timestamp: int) -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.answer(1, 410, b'{"reason": "Unregistered", "timestamp": %d}' % timestamp)
    assert batch.answers == [Answer(Fate.ANSWERED, 410, "Unregistered", timestamp)]
    assert talk.sent() == []


@pytest.mark.parametrize("timestamp", ["true", '"1"', "-1", "1.5", "1e400", str(2**63), str(2**70)])
def test_odd_timestamp(timestamp: str) -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.answer(1, 410, b'{"reason": "Unregistered", "timestamp": %b}' % timestamp.encode())
    assert batch.answers == [Answer(Fate.ANSWERED, 410, "Unregistered", None)]


def test_success_with_a_body() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.answer(1, 200, b"hello")
    assert batch.answers == [DELIVERED]


def test_interim_answers_and_trailers() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.headers(1, (":status", "103"), ("link", "x"), end=False)
    talk.headers(1, (":status", "100"), end=False)
    talk.headers(1, (":status", "400"), end=False)
    talk.data(1, b'{"reason": ', end=False)
    talk.data(1, b'"BadTopic"}', end=False)
    talk.headers(1, ("checksum", "x"))
    assert short(batch) == ["400 BadTopic"]


def test_padding_and_priority() -> None:
    talk = Dialogue({})
    batch = talk.submit(2)
    talk.sent()
    for stream_id in (1, 3):
        head = hf.HeadersFrame(
            stream_id,
            talk.encoder.encode([(":status", "400")]),
            flags=["END_HEADERS", "PADDED", "PRIORITY"],
            pad_length=20,
            depends_on=0,
            stream_weight=5,
        )
        talk.frame(head)
        talk.data(stream_id, b'{"reason": "BadPath"}', pad_length=255)
    assert short(batch) == ["400 BadPath"] * 2


def test_continuation() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    block = talk.encoder.encode([(":status", "200"), ("apns-id", "x" * 100)])
    talk.frame(hf.HeadersFrame(1, block[:1], flags=["END_STREAM"]))
    for at in range(1, len(block)):
        last = at == len(block) - 1
        talk.frame(hf.ContinuationFrame(1, block[at : at + 1], flags=["END_HEADERS"] if last else []))
        if at > 50 and not last:
            talk.frame(hf.ContinuationFrame(1, block[at + 1 :], flags=["END_HEADERS"]))
            break
    assert short(batch) == ["200"]


def test_the_parts_of_each_header_block_are_counted_by_themselves() -> None:
    talk = Dialogue({})
    batch = talk.submit(2)
    talk.sent()
    for stream_id in (1, 3):
        parts = [frames.frame(frames.CONTINUATION, 0, stream_id)] * 63
        last = frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream_id, b"\x88")
        talk.raw(b"".join([frames.frame(frames.HEADERS, 1, stream_id), *parts, last]))
    assert short(batch) == ["200", "200"]


def test_nothing_after_a_status_of_200_is_decoded_while_there_is_no_table() -> None:
    talk = Dialogue({})
    batch = talk.submit(2)
    talk.sent()
    talk.headers(1, (":status", "200"))
    talk.raw(frames.frame(frames.HEADERS, 5, 3, b"\x88\xff\xff\xff"))
    assert short(batch) == ["200", "200"]


def test_a_status_of_200_alone_is_no_answer_before_the_stream_ends() -> None:
    talk = Dialogue({})
    batch = talk.submit(2)
    talk.sent()
    talk.headers(1, (":status", "200"))
    talk.raw(frames.frame(frames.HEADERS, frames.END_HEADERS, 3, b"\x88"))
    assert short(batch) == ["200", "-"]
    talk.data(3, b"")
    assert short(batch) == ["200", "200"]


def test_one_octet_at_a_time() -> None:
    talk = Dialogue({})
    batch = talk.submit(3)
    talk.sent()
    blocks = [talk.encoder.encode([(":status", "200"), ("apns-id", str(n))]) for n in range(3)]
    octets = b"".join(
        hf.HeadersFrame(1 + 2 * at, block, flags=["END_HEADERS", "END_STREAM"]).serialize()
        for at, block in enumerate(blocks)
    )
    for at in range(len(octets)):
        talk.raw(octets[at : at + 1])
    assert batch.answers == [DELIVERED] * 3
    assert talk.wire.in_flight == 0


@pytest.mark.parametrize("obeys", [True, False], ids=["table 0", "dynamic table"])
def test_dynamic_table(obeys: bool) -> None:
    """A server that ignores SETTINGS_HEADER_TABLE_SIZE and refers to earlier fields is still understood."""
    talk = Dialogue({})
    if not obeys:
        talk.encoder = Encoder()
    batch = talk.submit(30)
    for at, stream_id in enumerate(talk.begun()):
        status = "200" if at % 3 else "410"
        talk.headers(stream_id, (":status", status), ("server", "x"), ("apns-id", str(at % 5)))
    assert talk.wire._inbound.quick is obeys
    assert short(batch) == ["410", "200", "200"] * 10


def test_table_given_up_later() -> None:
    """The table's size counts from the block that changes it."""
    talk = Dialogue({})
    talk.encoder = Encoder()
    batch = talk.submit(9)
    begun = talk.begun()
    for stream_id in begun[:3]:
        talk.headers(stream_id, (":status", "200"), ("a", "b"))
    assert not talk.wire._inbound.quick
    talk.encoder.header_table_size = 0
    for stream_id in begun[3:6]:
        talk.headers(stream_id, (":status", "200"), ("a", "b"))
    assert talk.wire._inbound.quick
    talk.encoder.header_table_size = 4_096
    for stream_id in begun[6:]:
        talk.headers(stream_id, (":status", "200"), ("a", "b"))
    assert not talk.wire._inbound.quick
    assert batch.answers == [DELIVERED] * 9


def test_traced() -> None:
    talk = Dialogue({})
    batch = talk.submit(2, traced=True)
    talk.sent()
    talk.headers(1, (":status", "200"), ("apns-unique-id", "u-1"))
    talk.headers(3, (":status", "400"), ("apns-unique-id", "u-2"))
    assert [answer and answer.unique_id for answer in batch.answers] == ["u-1", "u-2"]


@pytest.mark.parametrize("value", ["", "\0", "a b", "x" * 65, '"', "é"])
def test_an_invalid_unique_id_is_none(value: str) -> None:
    """The value is stored unchanged, so its form is restricted."""
    talk = Dialogue({})
    batch = talk.submit(1, traced=True)
    talk.sent()
    talk.headers(1, (":status", "200"), ("apns-unique-id", value))
    assert batch.answers == [DELIVERED]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("server", "x")],
        [(":status", "abc")],
        [(":status", "20")],
        [(":status", "099")],
        [("server", "x"), (":status", "200")],
        [(":status", "100")],
        [(":status", "199")],
    ],
)
def test_malformed_answer(fields: list[tuple[str, str]]) -> None:
    talk = Dialogue({})
    batch = talk.submit(2)
    talk.sent()
    talk.headers(1, *fields)
    [reset] = talk.sent()
    assert reset.error_code == ErrorCode.PROTOCOL_ERROR
    talk.answer(3)
    assert short(batch) == ["unknown MalformedAnswer", "200"]


def test_headers_without_a_status_are_malformed_before_the_body() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.headers(1, ("server", "x"), end=False)
    assert short(batch) == ["unknown MalformedAnswer"]


def test_body_before_headers() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.data(1, b"{}")
    assert short(batch) == ["unknown MalformedAnswer"]


def test_second_answer_without_end() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.headers(1, (":status", "410"), end=False)
    talk.headers(1, (":status", "200"), end=False)
    assert short(batch) == ["410"]


def test_answer_before_the_body_is_sent() -> None:
    talk = Dialogue({4: 10})
    batch = talk.submit(1, b"x" * 100)
    talk.sent()
    talk.answer(1, 413, b'{"reason": "PayloadTooLarge"}')
    [reset] = talk.sent()
    assert reset.error_code == ErrorCode.CANCEL
    talk.reset(1, 0)
    talk.window(1, 1_000)
    assert talk.sent() == []
    assert short(batch) == ["413 PayloadTooLarge"]
    assert talk.wire.in_flight == 0


# RST_STREAM (6.4, 8.7)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (7, "not_sent RefusedStream"),
        (0, "unknown StreamReset"),
        (2, "unknown StreamReset"),
        (99, "unknown StreamReset"),
    ],
)
def test_reset(code: int, expected: str) -> None:
    talk = Dialogue({3: 1})
    batch = talk.submit(2)
    talk.sent()
    talk.reset(1, code)
    assert talk.begun() == [3]
    talk.answer(3)
    talk.reset(3, code)
    assert short(batch) == [expected, "200"]


@pytest.mark.parametrize("code", [0, 7, 8])
def test_reset_after_the_status(code: int) -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.headers(1, (":status", "429"), end=False)
    talk.data(1, b'{"reason": "TooManyRequests"}', end=False)
    talk.reset(1, code)
    assert short(batch) == ["429 TooManyRequests"]


# GOAWAY (6.8)


def test_goaway() -> None:
    talk = Dialogue({3: 4})
    batch = talk.submit(10)
    talk.sent()
    talk.go_away(3, b'{"reason": "BadCertificate"}')
    assert talk.events() == [ConnectionOpened(), GoAwayReceived("BadCertificate", 0)]
    assert short(batch) == ["-", "-"] + ["not_sent GoAway:BadCertificate"] * 8
    late = talk.submit(2)
    assert short(late) == ["not_sent GoAway:BadCertificate"] * 2
    assert talk.sent() == []
    assert not talk.wire.finished
    talk.answer(3)
    talk.answer(1)
    assert talk.ended() == 1
    assert talk.wire.finished
    assert short(batch)[:2] == ["200", "200"]


def test_goaway_in_two_steps() -> None:
    """As servers that close in order do: first with all streams, then with the last processed stream."""
    talk = Dialogue({})
    batch = talk.submit(3)
    talk.sent()
    talk.go_away(2**31 - 1)
    assert short(batch) == ["-"] * 3
    talk.go_away(1)
    assert short(batch) == ["-", "not_sent GoAway", "not_sent GoAway"]


def test_goaway_with_a_body_half_sent() -> None:
    talk = Dialogue({4: 1})
    batch = talk.submit(2, b"xyz")
    talk.sent()
    talk.go_away(1)
    talk.window(1, 100)
    talk.window(3, 100)
    assert [(frame.stream_id, frame.data) for frame in talk.sent()] == [(1, b"yz")]
    assert short(batch) == ["-", "not_sent GoAway"]


@pytest.mark.parametrize(("size", "reason"), [(4_096, "Shutdown"), (4_097, "")])
def test_the_debug_data_of_a_goaway_is_read_up_to_a_limit(size: int, reason: str) -> None:
    talk = Dialogue({})
    talk.events()
    talk.go_away(0, b'{"reason":"Shutdown"'.ljust(size - 1) + b"}")
    assert talk.events() == [GoAwayReceived(reason, 0)]


@pytest.mark.parametrize("debug", [b"", b"[]", b"\xff", b"x" * 10_000])
def test_goaway_without_reason(debug: bytes) -> None:
    talk = Dialogue({})
    talk.go_away(0, debug)
    assert talk.wire.end_reason == "GoAway"


# PING (6.7)


def test_ping() -> None:
    talk = Dialogue({})
    talk.frame(hf.PingFrame(0, b"abcdefgh"))
    [pong] = talk.sent()
    assert (pong.opaque_data, pong.flags) == (b"abcdefgh", {"ACK"})
    talk.wire.ping(b"12345678")
    [ping] = talk.sent()
    talk.frame(hf.PingFrame(0, ping.opaque_data, flags=["ACK"]))
    assert talk.events()[-1] == PingAnswered(b"12345678")


@pytest.mark.parametrize("more", [0, 1])
def test_replies_may_wait_up_to_the_limit(more: int) -> None:
    """65,536 octets: two of SETTINGS (9 each) and 3,854 of PING (17 each), which is exact."""
    talk = Dialogue()
    talk.settings({})
    talk.settings({})
    pings = hf.PingFrame(0, b"abcdefgh").serialize() * (3_854 + more)
    if more:
        with pytest.raises(ProtocolError):
            talk.raw(pings)
    else:
        talk.raw(pings)
        assert len(talk.sent()) == 2 + 3_854


def test_flood_is_cut_off() -> None:
    talk = Dialogue({})
    pings = hf.PingFrame(0, b"abcdefgh").serialize() * 10_000
    with pytest.raises(ProtocolError) as caught:
        talk.raw(pings)
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


# What a server must not do


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (frames.frame(frames.HEADERS, 5, 9, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 5, 2, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 5, 0, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 1, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 1, 9, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 9, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 9, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.CONTINUATION, 4, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (
            frames.frame(frames.HEADERS, 1, 1, b"") + frames.frame(frames.DATA, 0, 1, b""),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (frames.frame(frames.HEADERS, 0xD, 1, b""), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.HEADERS, 0xD, 1, b"\x05\x88"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0x25, 1, b"\0\0\0"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.HEADERS, 5, 1, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (frames.frame(frames.HEADERS, 5, 1, b"\x3f\xff\xff\x7f\x88"), ErrorCode.COMPRESSION_ERROR),
        (
            frames.frame(frames.HEADERS, 1, 1, b"") + frames.frame(frames.PING, 0, 0, bytes(8)),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (
            frames.frame(frames.HEADERS, 1, 1, b"") + frames.frame(frames.CONTINUATION, 4, 3),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (frames.frame(frames.HEADERS, 1, 1, b"") + frames.frame(0x55, 0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 1, 1) + frames.frame(9, 0, 1) * 100, ErrorCode.ENHANCE_YOUR_CALM),
        (
            frames.frame(frames.HEADERS, 1, 1) + frames.frame(9, 0, 1, bytes(9_000)) * 2,
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", ErrorCode.FRAME_SIZE_ERROR),
        (b"\xff\xff\xff\x55\x00\x00\x00\x00\x01", ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_protocol_errors(octets: bytes, code: ErrorCode) -> None:
    talk = Dialogue({3: 2})
    batch = talk.submit(4)
    talk.sent()
    with pytest.raises(ProtocolError) as caught:
        talk.raw(octets)
    assert caught.value.code == code
    talk.wire.close("ProtocolError", code)
    assert short(batch) == ["unknown ProtocolError"] * 2 + ["not_sent ProtocolError"] * 2
    [goaway] = talk.sent()
    assert goaway.error_code == code
    assert talk.ended() == 1


def test_unknown_frames_are_ignored() -> None:
    talk = Dialogue({})
    batch = talk.submit()
    talk.sent()
    talk.raw(frames.frame(0x55, 0xFF, 1, b"hello") + frames.frame(0xA, 0, 0, b"altsvc"))
    talk.raw(frames.frame(frames.PRIORITY, 0, 1, bytes(5)))
    talk.answer(1)
    assert short(batch) == ["200"]


def test_frames_on_ended_streams_are_ignored() -> None:
    talk = Dialogue({})
    batch = talk.submit(2)
    talk.sent()
    talk.answer(1)
    talk.answer(1, 410)
    talk.data(1, b"late")
    talk.reset(1, 7)
    talk.window(1, 5)
    assert short(batch) == ["200", "-"]


# What a caller can do


def test_expire() -> None:
    talk = Dialogue({3: 3})
    batch = talk.submit(5)
    talk.sent()
    limit = talk.wire.next_stream_id
    talk.answer(3)
    assert talk.begun() == [7]
    talk.wire.expire(limit)
    resets = [frame for frame in talk.sent() if isinstance(frame, hf.RstStreamFrame)]
    assert [(frame.stream_id, frame.error_code) for frame in resets] == [(1, 8), (5, 8)]
    assert short(batch) == ["unknown ResponseTimeout", "200", "unknown ResponseTimeout", "-", "-"]
    talk.answer(1)  # crossed our RST_STREAM
    talk.answer(7)
    talk.answer(9)
    assert talk.ended() == 1


def test_withdraw() -> None:
    talk = Dialogue({3: 2})
    mine = talk.submit(4)
    flight = talk.wire._outbound._queue[0]
    talk.sent()
    other = talk.submit(1)
    talk.wire.withdraw(flight)
    talk.wire.withdraw(flight)
    assert short(mine) == ["-", "-", "not_sent Cancelled", "not_sent Cancelled"]
    talk.answer(1)
    talk.answer(3)
    assert talk.begun() == [5]
    talk.answer(5)
    assert short(other) == ["200"]
    assert talk.ended() == 2


def test_stream_ids_run_out() -> None:
    talk = Dialogue({})
    talk.submit()
    talk.answer(talk.begun()[0])
    talk.wire._streams.next_id = 2**31 - 5
    batch = talk.submit(5)
    assert talk.begun() == [2**31 - 5, 2**31 - 3, 2**31 - 1]
    assert short(batch) == ["-", "-", "-", "not_sent StreamIdsUsedUp", "not_sent StreamIdsUsedUp"]
    talk.answer(2**31 - 1)
    talk.answer(2**31 - 3)
    talk.answer(2**31 - 5)
    assert talk.wire.finished
    assert short(batch)[:3] == ["200"] * 3


def test_close_ends_everything_once() -> None:
    talk = Dialogue({3: 2, 4: 1})
    batch = talk.submit(4, b"xyz")
    talk.sent()
    talk.headers(3, (":status", "410"), end=False)
    talk.wire.close("ConnectionLost")
    talk.wire.close("Again")
    assert short(batch) == [
        "unknown ConnectionLost",
        "410",
        "not_sent ConnectionLost",
        "not_sent ConnectionLost",
    ]
    assert talk.ended() == 1
    assert talk.wire.phase is Phase.CLOSED
    assert [type(frame) for frame in talk.sent()] == [hf.GoAwayFrame]
    talk.answer(1)
    assert short(talk.submit(1)) == ["not_sent ConnectionLost"]


def test_empty_batch() -> None:
    talk = Dialogue({})
    assert talk.wire.submit(talk.submit(0), b"") is None
    assert talk.sent() == []


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (403, "ExpiredProviderToken", ConnectionUnusable("ExpiredProviderToken", b"bearer x")),
        (503, "Shutdown", ConnectionUnusable("Shutdown", b"bearer x")),
        (421, "", ConnectionUnusable("MisdirectedRequest", b"bearer x")),
        (429, "TooManyProviderTokenUpdates", TokenUpdatesLimited()),
    ],
)
def test_answers_about_the_connection(status: int, reason: str, expected: object) -> None:
    talk = Dialogue({})
    talk.submit(2)
    talk.sent()
    talk.answer(1, status, b'{"reason": "%b"}' % reason.encode() if reason else b"")
    assert talk.events()[-1] == expected


def test_nothing_to_send() -> None:
    talk = Dialogue({})
    assert talk.wire.send(ALL) == b""
    assert parse(b"") == []
