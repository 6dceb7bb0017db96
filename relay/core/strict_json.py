"""A strict reader of JSON (RFC 8259): UTF-8 only, no NaN, no duplicate keys, bounded depth.

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
"""The deepest nesting that is accepted. Payloads for APNs need a handful of levels."""

_STRING_MAYBE_KEY = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?')
_decode = msgspec.json.Decoder().decode


def decode(body: bytes) -> Any:
    """Return the value of a JSON text. Raises MalformedBody that says what is wrong; of a duplicate key, where."""
    try:
        value = _decode(body)
    except msgspec.DecodeError as error:
        raise MalformedBody(f"The body is not valid JSON: {error}.") from None
    except UnicodeDecodeError:
        raise MalformedBody("The body is not valid UTF-8.") from None
    except RecursionError:
        raise _too_deep() from None
    keys = _count_keys(value, MAX_DEPTH)
    # Each key has a colon. If there are no further ones, as in strings, the keys need not be counted exactly.
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
    """Return a JSON pointer to the first duplicate key. The path to its object is not known."""
    duplicates: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen and not duplicates:
                duplicates.append(key)
            seen[key] = value
        return seen

    try:
        json.loads(body, object_pairs_hook=collect)
    except RecursionError:  # a later duplicate hid the deep value from the count
        raise _too_deep() from None
    return "/" + escape_pointer_token(duplicates[0]) if duplicates else ""


def escape_pointer_token(key: str) -> str:
    """Return a key as a token of a JSON pointer (RFC 6901 section 3)."""
    return key.replace("~", "~0").replace("/", "~1")
