"""Dialogue with a `Wire` in frames, for tests without a socket."""

from __future__ import annotations

from hpack import Decoder, Encoder
from hyperframe import frame as hf

from relay.apns.frames import PREFACE
from relay.apns.streams import Event, Flight
from relay.apns.wire import Wire
from relay.core.delivery.sending import Answer, SendBatch
from tests.factories import make_send_batch

ALL = 1 << 30


def parse(octets: bytes) -> list[hf.Frame]:
    """Return the frames in octets that a client wrote. Incomplete frames fail the test."""
    octets = octets.removeprefix(PREFACE)
    parsed = []
    while octets:
        frame, length = hf.Frame.parse_frame_header(memoryview(octets[:9]))
        frame.parse_body(memoryview(octets[9 : 9 + length]))
        assert len(octets) >= 9 + length
        parsed.append(frame)
        octets = octets[9 + length :]
    return parsed


class Dialogue:
    """An open `Wire`; methods play the frames of the server."""

    def __init__(self, settings: dict[int, int] | None = None, *, one_first: bool = False) -> None:
        self.wire = Wire("api.example", one_first=one_first)
        self.encoder = Encoder()
        self.encoder.header_table_size = 0
        self.decoder = Decoder()
        self.seen: list[Event] = []
        self.first = parse(self.wire.send(ALL))
        if settings is not None:
            self.settings(settings)
            self.sent()

    # the client

    def submit(self, count: int = 1, payload: bytes = b"{}", **options: object) -> SendBatch:
        batch = make_send_batch(size=count, payload=payload, **options)  # type: ignore[arg-type]
        self.wire.submit(batch, b"bearer x")
        return batch

    def sent(self, limit: int = ALL) -> list[hf.Frame]:
        return parse(self.wire.send(limit))

    def begun(self, limit: int = ALL) -> list[int]:
        """Return the ids of the streams that the client begins with its next octets."""
        return [frame.stream_id for frame in self.sent(limit) if isinstance(frame, hf.HeadersFrame)]

    def ended(self) -> int:
        """Return the number of flights that have ended since the last call."""
        return sum(isinstance(event, Flight) for event in self.events())

    def events(self) -> list[Event]:
        events = self.wire.events()
        self.seen += events
        return events

    # the server

    def raw(self, octets: bytes) -> None:
        self.wire.receive(octets)

    def frame(self, frame: hf.Frame) -> None:
        self.raw(frame.serialize())

    def settings(self, values: dict[int, int]) -> None:
        self.frame(hf.SettingsFrame(0, settings=values))

    def headers(
        self, stream_id: int, *fields: tuple[str, str], end: bool = True, flags: tuple[str, ...] = ()
    ) -> None:
        block = self.encoder.encode(fields)
        ended = ["END_STREAM"] if end else []
        self.frame(hf.HeadersFrame(stream_id, block, flags=["END_HEADERS", *ended, *flags]))

    def data(self, stream_id: int, body: bytes, *, end: bool = True, **options: int) -> None:
        flags = ["END_STREAM"] if end else []
        if "pad_length" in options:
            flags.append("PADDED")
        self.frame(hf.DataFrame(stream_id, body, flags=flags, **options))

    def answer(self, stream_id: int, status: int = 200, body: bytes = b"") -> None:
        self.headers(stream_id, (":status", str(status)), end=not body)
        if body:
            self.data(stream_id, body)

    def reset(self, stream_id: int, code: int) -> None:
        self.frame(hf.RstStreamFrame(stream_id, error_code=code))

    def window(self, stream_id: int, octets: int) -> None:
        self.frame(hf.WindowUpdateFrame(stream_id, window_increment=octets))

    def go_away(self, last: int, debug: bytes = b"") -> None:
        self.frame(hf.GoAwayFrame(0, last_stream_id=last, error_code=0, additional_data=debug))


def short(batch: SendBatch) -> list[str]:
    """Return the answers as text: "200", "410 Unregistered", "not_sent GoAway", or "-" without an answer."""
    return [word(answer) for answer in batch.answers]


def word(answer: Answer | None) -> str:
    if answer is None:
        return "-"
    return f"{answer.status or answer.fate.value} {answer.reason}".strip()
