"""Mutated frames: whatever a server sends, only ProtocolError may come out, nothing hangs, memory stays
bounded.

    FUZZ_FRAMES=1000000 pytest tests/apns/test_fuzz.py

By default a few thousand frames, 10 s at most. FUZZ_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import time

from hpack import Encoder

from relay.apns import frames
from relay.apns.frames import FRAME_MAX, HEAD_SIZE, ProtocolError
from relay.apns.inbound import CONTINUATIONS_MAX
from relay.apns.responses import BLOCK_MAX, BODY_MAX
from relay.apns.streams import Flight
from relay.apns.wire import CONTROL_MAX, STREAMS_MAX, Wire
from relay.core.sending import Answer
from tests.apns.clients import make_batch

FRAMES = int(os.environ.get("FUZZ_FRAMES", "20000"))
SECONDS = 10.0 if "FUZZ_FRAMES" not in os.environ else 3_600.0
SEED = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(2**32)))


class Vocabulary:
    """Frames as a server would send them, to be spoilt."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        encoder, stateless = Encoder(), Encoder()
        stateless.header_table_size = 0
        fields = [(":status", "200"), ("apns-id", "123e4567-e89b-12d3-a456-426614174000"), ("server", "x")]
        errors = [(":status", "410"), ("apns-id", "123e4567-e89b-12d3-a456-426614174000")]
        self.blocks = [
            bytes(coder.encode(some)) for coder in (encoder, stateless) for some in (fields, errors) * 2
        ]
        self.blocks += [b"\x88", b"\x20\x88", b"", bytes(encoder.encode([(":status", "103")]))]
        self.bodies = [b'{"reason": "Unregistered", "timestamp": 1}', b"[]", b"<html>", b"", b"x" * 3_000]

    def frame(self, most: int) -> bytes:
        rng = self.rng
        stream_id = rng.randrange(1, most + 4, 2) if rng.random() < 0.97 else rng.randrange(2**32)
        kind = rng.choice([0, 0, 1, 1, 1, 1, 1, 3, 4, 6, 7, 8, 9, 2, 5, 0x55]) if rng.random() < 0.9 else 1
        flags = rng.choice([0, 1, 4, 5, 5, 5, 5, 8, 0xC, 0x2D, 0xFF])
        if kind in (1, 9):
            payload = rng.choice(self.blocks)
            if flags & frames.PRIORITISED:
                payload = bytes(5) + payload
        elif kind == 0:
            payload = rng.choice(self.bodies)
        elif kind == 4:
            stream_id = 0 if rng.random() < 0.9 else stream_id
            flags = 0 if rng.random() < 0.8 else flags
            name, value = rng.randrange(8), rng.choice([0, 1, 100, 16_384, 65_535, 2**31 - 1, 2**32 - 1])
            payload = name.to_bytes(2, "big") + value.to_bytes(4, "big")
        elif kind == 7:
            if rng.random() < 0.7:  # it ends the game: not too often
                kind, payload, stream_id = 6, bytes(8), 0
            else:
                stream_id = 0
                payload = rng.randrange(most + 4).to_bytes(4, "big") + bytes(4) + b'{"reason": "Shutdown"}'
        elif kind == 6:
            payload, stream_id = bytes(8), 0
        else:
            payload = rng.choice([bytes(4), b"\0\0\0\7", b"\0\0\1\0", b"\x7f\xff\xff\xff", bytes(5)])
            if kind == 8 and rng.random() < 0.5:
                stream_id = 0
        if flags & frames.PADDED and kind in (0, 1) and rng.random() < 0.8:
            payload = b"\2" + payload + bytes(2)
        return frames.frame(kind, flags, 0, payload)[:5] + stream_id.to_bytes(4, "big") + payload

    def spoil(self, octets: bytes) -> bytes:
        rng, spoilt = self.rng, bytearray(octets)
        how = rng.randrange(8)
        if how == 0:
            spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        elif how == 1:
            spoilt[rng.randrange(HEAD_SIZE)] = rng.randrange(256)
        elif how == 2 and len(spoilt) > HEAD_SIZE:
            at = rng.randrange(HEAD_SIZE, len(spoilt))
            spoilt[at : at + 4] = rng.randbytes(rng.randrange(1, 5))
        elif how == 3:
            del spoilt[rng.randrange(len(spoilt)) :]
        elif how == 4:
            spoilt += rng.randbytes(rng.randrange(1, 20))
        elif how == 5:  # a payload of another length, rightly announced
            payload = rng.randbytes(rng.randrange(0, 40))
            spoilt[HEAD_SIZE:] = payload
            spoilt[:3] = len(payload).to_bytes(3, "big")
        return bytes(spoilt)


def test_fuzz() -> None:
    rng = random.Random(SEED)
    vocabulary = Vocabulary(rng)
    played, errors, answered = 0, 0, 0
    until = time.monotonic() + SECONDS
    while played < FRAMES and time.monotonic() < until:
        wire = Wire("api.example", one_first=False)
        wire.send(1 << 20)
        wire.receive(frames.settings([(4, rng.choice([0, 10, 65_535]))]))
        batches = [
            make_batch(rng.randrange(0, 8), b"x" * rng.randrange(40), traced=rng.random() < 0.1)
            for _ in range(4)
        ]
        flights = sum(wire.submit(batch, b"") is not None for batch in batches)
        ended = 0
        try:
            for _ in range(rng.randrange(1, 60)):
                octets = vocabulary.frame(wire.next_stream_id)
                if rng.random() < 0.15:
                    octets = vocabulary.spoil(octets)
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
    print(f"{played} frames, {errors} protocol errors, {answered} answers, seed {SEED}")


def check_bounds(wire: Wire) -> None:
    """What a server can make us keep."""
    streams = wire._streams
    assert len(wire._rest) < HEAD_SIZE + FRAME_MAX
    assert len(streams.open) <= STREAMS_MAX
    assert streams.unusual.keys() <= streams.open.keys()
    assert streams.partial.keys() <= streams.unusual.keys()
    assert all(len(unusual.text) <= BODY_MAX for unusual in streams.unusual.values())
    assert wire._control_size <= CONTROL_MAX
    block = wire._inbound._block
    assert block is None or len(block[2]) <= BLOCK_MAX + FRAME_MAX
    assert wire._inbound._block_frames <= CONTINUATIONS_MAX
