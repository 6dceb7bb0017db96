"""The strict reader of JSON: texts that are not RFC 8259, or are ambiguous, are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import MalformedBody
from relay.core.strict_json import MAX_DEPTH, decode

from .push.test_payload import json_values


@given(json_values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_that_the_library_writes_is_read_back(value: Any, ascii_only: bool, indent: Any) -> None:
    assert decode(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1} x',
        b'\xff\xfe{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xc3\x28"}',
        b'{"a":"\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\x01"}',
        b'{"a":01}',
    ],
)
def test_other_texts_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        decode(body)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a":1,"a":2}', "/a"),
        (b'{"x":{"b" : 1, "b"\n:2}}', "/b"),
        (b'[{"a":1},{"c":[{"d":1,"d":1}]}]', "/d"),
        (b'{"a":1,"\\u0061":2}', "/a"),
        (b'{"a\\"b":1,"a\\"b":2}', '/a"b'),
        (b'{"":1,"":2}', "/"),
    ],
)
def test_a_duplicate_key_is_refused_by_name(body: bytes, pointer: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        decode(body)
    assert caught.value.faults[0].pointer == pointer


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_strings_that_look_like_keys_are_not_keys(strings: dict[str, str]) -> None:
    tricky = {key + '":' + key: value + '" : "' for key, value in strings.items()}
    assert decode(json.dumps(tricky).encode()) == tricky


def test_depth_is_bounded() -> None:
    assert decode(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 2, 100_000):
        with pytest.raises(MalformedBody):
            decode(b"[" * depth + b"1" + b"]" * depth)
        with pytest.raises(MalformedBody):
            decode(b'{"a":' * depth + b"1" + b"}" * depth)


def test_a_duplicate_key_over_deep_nesting_is_refused() -> None:
    for depth in range(900, 1100):
        for deep in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
            with pytest.raises(MalformedBody):
                decode(b'{"a":1,"a":' + deep + b"}")
            with pytest.raises(MalformedBody):
                decode(b'{"a":' + deep + b',"a":1}')
