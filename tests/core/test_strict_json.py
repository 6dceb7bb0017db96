"""The strict reader of JSON: texts that are not RFC 8259, or are ambiguous, are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import Fault, MalformedBody
from relay.core.strict_json import MAX_DEPTH, decode, escape_pointer_token

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
    assert caught.value.faults == (Fault("duplicate_key", pointer, "This key occurs twice."),)
    assert caught.value.detail == "A key occurs twice in one object."


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_strings_that_look_like_keys_are_not_keys(strings: dict[str, str]) -> None:
    tricky = {key + '":' + key: value + '" : "' for key, value in strings.items()}
    assert decode(json.dumps(tricky).encode()) == tricky


def test_depth_is_bounded() -> None:
    assert MAX_DEPTH == 64
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")):
        depth = (MAX_DEPTH + 1) // len(closing)
        assert decode(opening * depth + b"1" + closing * depth)
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


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"[" * 66 + b"1" + b"]" * 66, "The body is nested deeper than 64 levels."),
        (b"[" * 100_000, "The body is nested deeper than 64 levels."),
        (b'{"a":"\xff"}', "The body is not valid UTF-8."),
        (b"{", "The body is not valid JSON: Input data was truncated."),
    ],
)
def test_a_refusal_says_why(body: bytes, detail: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        decode(body)
    assert caught.value.detail == detail


def test_empty_values_may_lie_one_level_deeper() -> None:
    assert decode(b"[" * 66 + b"]" * 66)
    assert decode(b'{"a":' * 65 + b"{}" + b"}" * 65)
    for body in (b"[" * 67 + b"]" * 67, b'{"a":' * 66 + b"{}" + b"}" * 66):
        with pytest.raises(MalformedBody):
            decode(body)


@pytest.mark.parametrize(
    ("key", "token"),
    [("a", "a"), ("a/b", "a~1b"), ("a~b", "a~0b"), ("~1", "~01"), ("/~/~", "~1~0~1~0"), ("", "")],
)
def test_a_key_is_escaped_as_a_token_of_a_pointer(key: str, token: str) -> None:
    assert escape_pointer_token(key) == token


def test_only_the_first_duplicate_is_named() -> None:
    with pytest.raises(MalformedBody) as caught:
        decode(b'{"x/y":1,"x/y":2,"b":1,"b":2}')
    assert [fault.pointer for fault in caught.value.faults] == ["/x~1y"]
