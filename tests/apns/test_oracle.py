"""The codec against h2: another implementation of HTTP/2 must accept every frame of it.

Random conversations with h2 as the server. h2 checks every limit that it announced (streams, windows, frame sizes) and
raises on a violation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import h2.config
import h2.connection
import h2.events
import h2.settings
from hpack import Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.apns.streams import Flight
from relay.apns.wire import Phase, Wire
from relay.core.delivery.sending import Answer, Fate, SendBatch
from relay.core.push.apns_headers import PushHeaders

Codes = h2.settings.SettingCodes

ascii_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)
push_headers = st.builds(
    PushHeaders,
    push_type=st.sampled_from(["alert", "background", "liveactivity"]),
    priority=st.sampled_from([1, 5, 10]),
    expiration=st.none() | st.integers(0, 2**40),
    collapse_id=st.none() | ascii_text,
)
server_settings = st.fixed_dictionaries(
    {},
    optional={
        Codes.MAX_CONCURRENT_STREAMS: st.integers(1, 40),
        Codes.INITIAL_WINDOW_SIZE: st.sampled_from([0, 1, 100, 5_000, 65_535, 1 << 20]),
        Codes.HEADER_TABLE_SIZE: st.sampled_from([0, 100, 4_096, 65_536]),
        Codes.MAX_FRAME_SIZE: st.sampled_from([16_384, 30_000, (1 << 24) - 1]),
    },
)


@st.composite
def batches(draw: st.DrawFn) -> SendBatch:
    count = draw(st.integers(0, 12))
    tokens = [draw(st.text("0123456789abcdef", min_size=1, max_size=200)) for _ in range(count)]
    topics = [draw(st.sampled_from(["com.example.a", "com.example.b.voip", "x"])) for _ in range(count)]
    ids = [f"id-{at}-{draw(st.integers(0, 9_999))}" for at in range(count)]
    size = draw(st.sampled_from([0, 1, 20, 4_096, 20_000, 70_000]))
    return SendBatch(b"p" * size, draw(push_headers), tokens, ids, topics)


@dataclass
class Server:
    """h2 as a server that answers at random and checks every frame."""

    random: Random
    obeys: bool
    initial: dict[Codes, int]
    changes: list[dict[Codes, int]]
    conn: h2.connection.H2Connection = field(init=False)
    requests: dict[int, dict[str, str]] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    said: dict[tuple[str, str], Answer] = field(default_factory=dict)
    most: int = 0

    def __post_init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.conn = h2.connection.H2Connection(config)
        values = {Codes.MAX_CONCURRENT_STREAMS: 100, **self.initial}
        self.conn.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.conn.initiate_connection()

    def hear(self, octets: bytes) -> None:
        for event in self.conn.receive_data(octets):
            if isinstance(event, h2.events.RequestReceived):
                self.requests[event.stream_id] = dict(event.headers)
                self.bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.waiting.append(event.stream_id)
            elif isinstance(event, h2.events.RemoteSettingsChanged) and not self.obeys:
                self.conn.encoder = Encoder()  # as if the table size had not been announced

    def act(self) -> None:
        """Play a random action of a server."""
        if self.changes and self.random.random() < 0.3:
            self.conn.update_settings(self.changes.pop())
        if self.random.random() < 0.2:
            self.conn.ping(b"whatever")
        self.random.shuffle(self.waiting)
        for _ in range(self.random.randint(0, len(self.waiting))):
            self.answer(self.waiting.pop())

    def give_windows(self) -> None:
        """Give window to bodies that lack it: h2 itself returns only used window, even single octets."""
        for stream_id, stream in self.conn.streams.items():
            if (
                stream.open
                and stream_id not in self.waiting
                and self.conn.remote_flow_control_window(stream_id) < 1_000
            ):
                self.conn.increment_flow_control_window(10_000, stream_id)

    def answer(self, stream_id: int) -> None:
        key = (self.requests[stream_id][":path"], self.requests[stream_id]["apns-id"])
        kind = self.random.randrange(6)
        if kind == 0:
            body = b'{"reason": "Unregistered", "timestamp": 17}'
            self.conn.send_headers(stream_id, [(":status", "410"), ("apns-id", key[1])])
            cut = self.random.randrange(len(body))
            self.conn.send_data(stream_id, body[:cut], pad_length=self.random.choice([None, 0, 100]))
            self.conn.send_data(stream_id, body[cut:], end_stream=True)
            self.said[key] = Answer(Fate.ANSWERED, 410, "Unregistered", 17)
        elif kind == 1:
            self.conn.send_headers(stream_id, [(":status", "103"), ("link", "x")])
            self.conn.send_headers(stream_id, [(":status", "400"), ("server", "h2")])
            self.conn.send_headers(stream_id, [("trailer", "x")], end_stream=True)
            self.said[key] = Answer(Fate.ANSWERED, 400)
        elif kind == 2:
            self.conn.reset_stream(stream_id, error_code=7)
            self.said[key] = Answer(Fate.NOT_SENT, reason="RefusedStream")
        elif kind == 3:
            self.conn.reset_stream(stream_id, error_code=2)
            self.said[key] = Answer(Fate.UNKNOWN, reason="StreamReset")
        else:
            fields = [(":status", "200"), ("apns-id", key[1]), ("server", "h2")]
            self.conn.send_headers(stream_id, fields, end_stream=True)
            self.said[key] = Answer(Fate.ANSWERED, 200)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    flights=st.lists(batches(), max_size=6),
    initial=server_settings,
    changes=st.lists(server_settings, max_size=4),
    obeys=st.booleans(),
    one_first=st.booleans(),
)
def test_conversation(
    seed: int,
    flights: list[SendBatch],
    initial: dict[Codes, int],
    changes: list[dict[Codes, int]],
    obeys: bool,
    one_first: bool,
) -> None:
    random = Random(seed)
    for at, batch in enumerate(flights):  # (path, apns-id) names a push
        batch.apns_ids = [f"{at}-{apns_id}" for apns_id in batch.apns_ids]
    server = Server(random, obeys, initial, changes)
    wire = Wire("api.example", one_first=one_first)
    pending = list(flights)
    ended = 0
    for _ in range(5_000):
        if pending and random.random() < 0.5:
            wire.submit(pending.pop(), b"bearer jwt")
        _deliver(random, wire.send(random.choice([100, 3_000, 1 << 20])), server.hear)
        server.act()
        server.give_windows()
        _deliver(random, server.conn.data_to_send(), wire.receive)
        ended += sum(isinstance(event, Flight) for event in wire.events())
        if not pending and not wire.queued and not wire.in_flight:
            break
    assert wire.phase is Phase.OPEN
    assert ended == sum(1 for batch in flights if len(batch))
    requests = {(fields[":path"], fields["apns-id"]): sid for sid, fields in server.requests.items()}
    for batch in flights:
        for at, answer in enumerate(batch.answers):
            key = (f"/3/device/{batch.device_tokens[at]}", batch.apns_ids[at])
            assert answer == server.said[key]
            fields = server.requests[requests[key]]
            assert fields == _expected(batch, at)
            if answer != Answer(Fate.UNKNOWN, reason="StreamReset"):
                assert server.bodies[requests[key]] == batch.payload


def _expected(batch: SendBatch, at: int) -> dict[str, str]:
    headers = batch.headers
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":authority": "api.example",
        ":path": f"/3/device/{batch.device_tokens[at]}",
        "authorization": "bearer jwt",
        "apns-topic": batch.topics[at],
        "apns-push-type": headers.push_type,
        "apns-priority": str(headers.priority),
        "apns-id": batch.apns_ids[at],
    }
    if headers.expiration is not None:
        fields["apns-expiration"] = str(headers.expiration)
    if headers.collapse_id is not None:
        fields["apns-collapse-id"] = headers.collapse_id
    return fields


def _deliver(random: Random, octets: bytes, hear: object) -> None:
    """Deliver the octets, cut at random."""
    assert callable(hear)
    while octets:
        cut = random.choice([1, 7, 100, 5_000, len(octets)])
        hear(octets[:cut])
        octets = octets[cut:]
