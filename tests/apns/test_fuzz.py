"""Mutated frames: for any octets of a server, only ProtocolError is raised, nothing hangs, and memory is bounded.

    FUZZ_FRAMES=1000000 pytest tests/apns/test_fuzz.py

The number counts mutated frames: 20,000 by default, within 10 s. FUZZ_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time

from hpack import Encoder

from relay.apns import frames
from relay.apns.frames import HEAD_BYTES, MAX_FRAME_BYTES, ErrorCode, ProtocolError
from relay.apns.inbound import MAX_CONTINUATIONS
from relay.apns.responses import MAX_BLOCK_BYTES, MAX_BODY_BYTES
from relay.apns.streams import Flight
from relay.apns.wire import MAX_CONTROL_BYTES, MAX_STREAMS, Wire
from relay.core.delivery.sending import Answer
from tests.factories import make_send_batch

FRAMES = int(os.environ.get("FUZZ_FRAMES", "20000"))
SECONDS = 10.0 if "FUZZ_FRAMES" not in os.environ else 3_600.0
SEED = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(2**32)))


class Vocabulary:
    """Frames of a server, most of them valid, as the source of mutations."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        indexing, stateless = Encoder(), Encoder()
        stateless.header_table_size = 0
        apns_id = ("apns-id", "123e4567-e89b-12d3-a456-426614174000")
        lists = [[(":status", status), apns_id] for status in ("200", "200", "410", "103")]
        self.blocks = [bytes(stateless.encode(fields)) for fields in lists] + [b"\x88", b"\x20\x88"]
        self.odd_blocks = [bytes(indexing.encode(fields)) for fields in lists * 2] + [
            b"",
            b"\x3f\xe1\x1f\x88",
        ]
        self.bodies = [b'{"reason": "Unregistered", "timestamp": 1}', b"[]", b"<html>", b"", b"x" * 3_000]

    def frame(self, next_id: int) -> bytes:
        """Return a random frame for a client whose next stream has that id."""
        rng = self.rng
        stream_id = rng.randrange(1, max(next_id, 3), 2)
        kind = rng.choices(range(11), [50, 15, 4, 6, 6, 5, 3, 3, 5, 1, 2])[0]
        if next_id == 1 and kind in {0, 1, 2, 6, 8}:
            kind = 5
        if kind == 0:
            return self.headers(stream_id, rng.choice([4, 5, 5, 5, 0xD, 0x25, 0x2C]))
        if kind == 1:
            flags, body = rng.choice([0, 1, 1, 8, 9]), rng.choice(self.bodies)
            return frames.frame(frames.DATA, flags, stream_id, b"\2" + body + bytes(2) if flags & 8 else body)
        if kind == 2:
            return frames.reset(stream_id, rng.choice([ErrorCode.NO_ERROR, ErrorCode.REFUSED_STREAM]))
        if kind == 3:
            return frames.window_update(
                rng.choice([0, stream_id]) if next_id > 1 else 0, rng.randrange(1, 100)
            )
        if kind == 4:
            return frames.settings(
                [rng.choice([(1, 0), (3, 0), (3, 1), (3, 100), (4, 0), (4, 9), (4, 2**31 - 1)])]
            )
        if kind == 5:
            return frames.ping(bytes(8), ack=rng.random() < 0.5)
        if kind == 6:
            return frames.frame(frames.PRIORITY, 0, stream_id, bytes(5))
        if kind == 7:
            return frames.frame(rng.randrange(10, 256), rng.randrange(256), rng.randrange(9), bytes(7))
        if kind == 8:
            block = rng.choice(self.blocks)
            cut = rng.randrange(len(block) + 1)
            head = frames.frame(frames.HEADERS, rng.choice([0, 1]), stream_id, block[:cut])
            return head + frames.frame(frames.CONTINUATION, 4, stream_id, block[cut:])
        if kind == 9:
            last = rng.randrange(next_id + 4).to_bytes(4, "big")
            return frames.frame(frames.GOAWAY, 0, 0, last + bytes(4) + b'{"reason": "Shutdown"}')
        return self.wild()

    def headers(self, stream_id: int, flags: int) -> bytes:
        block = self.rng.choice(self.blocks if self.rng.random() < 0.95 else self.odd_blocks)
        if flags & frames.PRIORITISED:
            block = bytes(5) + block
        if flags & frames.PADDED:
            block = b"\2" + block + bytes(2)
        return frames.frame(frames.HEADERS, flags, stream_id, block)

    def wild(self) -> bytes:
        rng = self.rng
        payload = rng.choice([rng.choice(self.odd_blocks), rng.randbytes(rng.randrange(30))])
        octets = frames.frame(rng.randrange(10), rng.choice([0, 1, 4, 5, 8, 0x2D, 0xFF]), 0, payload)
        stream_id = rng.choice([0, rng.randrange(20), rng.randrange(2**32)])
        return octets[:5] + stream_id.to_bytes(4, "big") + payload

    def spoil(self, octets: bytes) -> bytes:
        rng, spoilt = self.rng, bytearray(octets)
        how = rng.randrange(6)
        if how == 0:
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        elif how == 1:
            spoilt[rng.randrange(HEAD_BYTES)] = rng.randrange(256)
        elif how == 2 and len(spoilt) > HEAD_BYTES:
            at = rng.randrange(HEAD_BYTES, len(spoilt))
            spoilt[at : at + 4] = rng.randbytes(rng.randrange(1, 5))
        elif how == 3:
            del spoilt[rng.randrange(len(spoilt)) :]
        elif how == 4:
            spoilt += rng.randbytes(rng.randrange(1, 20))
        elif how == 5:  # a payload of another length, rightly announced
            payload = rng.randbytes(rng.randrange(0, 40))
            spoilt[HEAD_BYTES:] = payload
            spoilt[:3] = len(payload).to_bytes(3, "big")
        return bytes(spoilt)


def test_fuzz() -> None:
    rng = random.Random(SEED)
    vocabulary = Vocabulary(rng)
    played, mutated, errors, answered = 0, 0, 0, 0
    until = time.monotonic() + SECONDS
    while mutated < FRAMES and time.monotonic() < until:
        wire = Wire("api.example", one_first=False)
        wire.send(1 << 20)
        wire.receive(frames.settings([(4, rng.choice([0, 10, 65_535]))]))
        batches = [
            make_send_batch(
                size=rng.randrange(0, 8), payload=b"x" * rng.randrange(40), traced=rng.random() < 0.1
            )
            for _ in range(4)
        ]
        share = rng.choice(
            [0.1, 0.3, 1.0]
        )  # of mutated frames on this connection: few of them let it live long
        flights = sum(wire.submit(batch, b"") is not None for batch in batches)
        ended = 0
        try:
            for _ in range(rng.randrange(1, 100)):
                octets = vocabulary.frame(wire.next_stream_id)
                if rng.random() < share:
                    octets = vocabulary.spoil(octets)
                    mutated += 1
                played += 1
                cut = rng.randrange(len(octets)) if octets and rng.random() < 0.2 else 0
                wire.receive(octets[:cut])
                wire.receive(octets[cut:])
                if rng.random() < 0.5:
                    wire.send(rng.choice([50, 2_000]))
                if rng.random() < 0.01:
                    wire.expire(rng.randrange(wire.next_stream_id + 1))
                ended += sum(isinstance(event, Flight) for event in wire.events())
                check_bounds(wire)
        except ProtocolError as error:
            errors += 1
            wire.close("ProtocolError", error.code)
        wire.close("End")
        ended += sum(isinstance(event, Flight) for event in wire.events())
        assert ended == flights, f"seed {SEED}"
        for batch in batches:
            assert all(isinstance(answer, Answer) for answer in batch.answers), f"seed {SEED}"
            answered += sum(answer is not None and answer.status != 0 for answer in batch.answers)
        assert not wire.in_flight
        assert not wire.queued
    assert errors
    assert answered
    print(
        f"{played} frames, {mutated} of them mutated, {errors} protocol errors, {answered} answers, seed {SEED}"
    )


def check_bounds(wire: Wire) -> None:
    """Check the bounds of the memory that a server can occupy."""
    streams = wire._streams
    assert len(wire._rest) < HEAD_BYTES + MAX_FRAME_BYTES
    assert len(streams.open) <= MAX_STREAMS
    assert streams.unusual.keys() <= streams.open.keys()
    assert streams.partial.keys() <= streams.unusual.keys()
    assert all(len(unusual.text) <= MAX_BODY_BYTES for unusual in streams.unusual.values())
    assert wire._control_size <= MAX_CONTROL_BYTES
    block = wire._inbound._block
    assert block is None or len(block[2]) <= MAX_BLOCK_BYTES + MAX_FRAME_BYTES
    assert wire._inbound._block_frames <= MAX_CONTINUATIONS
