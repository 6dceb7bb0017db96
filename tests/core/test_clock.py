from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from relay.core.clock import Portions


@given(st.lists(st.integers(1, 32), max_size=200), st.integers(32, 100))
def test_no_random_byte_is_handed_out_twice(sizes: list[int], portion: int) -> None:
    fetched, source = bytearray(), Random(0)

    def fetch(size: int) -> bytes:
        fetched.extend(source.randbytes(size))
        return bytes(fetched[-size:])

    random, at = Portions(fetch, portion), 0
    for size in sizes:
        handed_out = random(size)
        assert len(handed_out) == size
        at = fetched.index(handed_out, at) + size
