"""The header `Prefer` (RFC 7240). Preferences that are unknown or malformed are ignored."""

from __future__ import annotations

import pytest

from relay.service.waiting import seconds_to_wait


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["wait=10"], 10),
        (["wait=0"], 0),
        (["wait=60"], 60),
        (["wait=3600"], 60),
        (['Wait = "10"'], 10),
        (["respond-async, wait=10"], 10),
        (["wait=10, respond-async"], 10),
        (["wait=10;foo=bar"], 10),
        (['handling="a, wait=5, b", wait=7'], 7),
        (["respond-async", "wait=10"], 10),
        (["wait=3, wait=9"], 3),
        (["wait"], None),
        (["wait="], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=soon"], None),
        (["wait=soon, wait=9"], 9),
        (["await=10"], None),
        (["wait=٣"], None),
        (["wait=9999999999"], None),
        ([""], None),
        ([","], None),
        (['"'], None),
    ],
)
def test_the_first_readable_wait_counts(values: list[str], seconds: int | None) -> None:
    assert seconds_to_wait(values) == seconds


@pytest.mark.parametrize("unit", ['"', ",", '",', "\\", '"\\', "wait=", "wait=1x,"])
def test_a_long_header_is_read_in_linear_time(unit: str) -> None:
    assert seconds_to_wait([unit * (8000 // len(unit))]) is None
