"""JSON as RFC 8259 means it, read strictly: UTF-8 only, no NaN, no duplicate keys, bounded depth.

msgspec reads the text; it lets a duplicate key pass (the last one wins), so the keys of the text are counted and
compared with the keys of the result. Counting costs a fraction of a second decoder.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from relay.core.errors import Fault, MalformedBody

MAX_DEPTH = 64
"""Nesting past this is refused: no payload of Apple's needs more than a handful of levels."""

_STRING_MAYBE_KEY = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?')
_decode = msgspec.json.Decoder().decode


def decode(body: bytes) -> Any:
    """The value of a JSON text. Raises MalformedBody naming what is wrong and, for a duplicate key, where."""
    try:
        value = _decode(body)
    except msgspec.DecodeError as error:
        raise MalformedBody(f"The body is not valid JSON: {error}.") from None
    except UnicodeDecodeError:
        raise MalformedBody("The body is not valid UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    keys = _count_keys(value, MAX_DEPTH)
    # Each key has its colon: without further ones, which strings may hold, there is no need to look closer.
    if body.count(b":") != keys and sum(map(bool, _STRING_MAYBE_KEY.findall(body))) != keys:
        pointer = _find_duplicate(body)
        raise MalformedBody(
            "A key occurs twice in one object.", [Fault("duplicate_key", pointer, "This key occurs twice.")]
        )
    return value


def _too_deep() -> MalformedBody:
    return MalformedBody(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _count_keys(value: Any, levels: int) -> int:
    if levels < 0:
        raise _too_deep()
    if isinstance(value, dict):
        count = len(value)
        for child in value.values():
            if child and isinstance(child, dict | list):
                count += _count_keys(child, levels - 1)
        return count
    if isinstance(value, list):
        return sum(
            _count_keys(child, levels - 1) for child in value if child and isinstance(child, dict | list)
        )
    return 0


def _find_duplicate(body: bytes) -> str:
    """The JSON pointer of the first duplicate, as far as it can be told: its key."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen and not found:
                found.append(key)
            seen[key] = value
        return seen

    try:
        json.loads(body, object_pairs_hook=note)
    except RecursionError:  # the depth is in a value that a later duplicate hid from the count
        raise _too_deep() from None
    return "/" + escape_pointer_token(found[0]) if found else ""


def escape_pointer_token(key: str) -> str:
    """A key as one token of a JSON pointer (RFC 6901 section 3)."""
    return key.replace("~", "~0").replace("/", "~1")
