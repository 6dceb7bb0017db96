"""The schema of payloads: they are checked, measured and encoded once.

The tables follow Apple, "Generating a remote notification" and "Creating the remote notification payload". APNs
ignores unknown keys of `aps`, so these are warnings. Devices silently drop a known key with a value of another type,
so that is an error here, where the author can see it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from relay.core.errors import Fault, Invalid
from relay.core.push.push_types import PushType
from relay.core.strict_json import escape_pointer_token

_encode = msgspec.json.encode


class CheckedPayload(NamedTuple):
    """A payload fit to send: its bytes, and warnings for its author."""

    encoded: bytes
    warnings: tuple[Fault, ...]


def check_payload(payload: Any, push_type: PushType) -> CheckedPayload:
    """Check and encode a payload. Raises Invalid with a fault for each mistake."""
    if not isinstance(payload, dict):
        empty = " PHP writes an empty map as []: cast it to an object." if payload == [] else ""
        raise Invalid(faults=[Fault("wrong_type", "/payload", f"The payload must be an object.{empty}")])
    if not payload:
        raise Invalid(faults=[Fault("empty", "/payload", "The payload is empty.")])
    encoded = encode_payload(payload)
    # A payload over the limit is not checked further: a body may hold a thousand times the limit.
    if len(encoded) > push_type.limit_bytes:
        detail = f"The payload has {len(encoded)} bytes; {push_type.name} allows {push_type.limit_bytes}."
        raise Invalid(faults=[Fault("payload_too_large", "/payload", detail)])
    faults: list[Fault] = []
    warnings: list[Fault] = []
    if "aps" in payload:
        _check_keys(payload["aps"], "/payload/aps", _APS_OF.get(push_type.name, _APS), faults, warnings)
    elif push_type.needs_aps:
        faults.append(Fault("missing_field", "/payload/aps", "The payload needs an `aps` object."))
    if push_type.name == "mdm" and not isinstance(payload.get("mdm"), str):
        faults.append(Fault("missing_field", "/payload/mdm", "An mdm push needs the string `mdm`."))
    _check_needs(payload.get("aps"), push_type.name, faults)
    if faults:
        raise Invalid(faults=faults)
    return CheckedPayload(encoded, tuple(warnings))


def encode_payload(payload: dict[str, Any]) -> bytes:
    """Return the bytes to send: compact JSON in UTF-8. Raises Invalid for text that UTF-8 cannot carry."""
    try:
        return _encode(payload)
    except UnicodeEncodeError:
        fault = Fault(
            "invalid_value", "/payload", "The payload has a lone surrogate, which UTF-8 can't carry."
        )
        raise Invalid(faults=[fault]) from None


def _check_needs(aps: Any, push_type: str, faults: list[Fault]) -> None:
    """Check the keys that a push type, or an event of a Live Activity, must have and must not have."""
    if not isinstance(aps, dict):
        return
    event = aps.get("event")
    rows = [(push_type, "")]
    if isinstance(event, str):
        rows.append((push_type, event))
    for row in rows:
        for key in _NEEDED.get(row, ()):
            if key not in aps:
                detail = f"A push of the type {push_type} needs `{key}`."
                if row[1]:
                    detail = f"A push of the type {push_type} with the event {event} needs `{key}`."
                faults.append(Fault("missing_field", f"/payload/aps/{key}", detail))
    for key in sorted(aps.keys() & _APS.keys() - _ALLOWED.get(push_type, _APS.keys())):
        detail = f"A push of the type {push_type} must not have `{key}`."
        faults.append(Fault("not_allowed", f"/payload/aps/{key}", detail))


# --- The tables: key -> test of its value, and the description of right values. ---


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    wanted: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    """Tell whether a number is whole; 5.0 is (JSON Schema, 6.1.1)."""
    return _is_number(value) and (isinstance(value, int) or value.is_integer())


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_STRING = _Rule(lambda value: isinstance(value, str), "a string")
_STRINGS = _Rule(_is_strings, "an array of strings")
_OBJECT = _Rule(lambda value: isinstance(value, dict), "an object")
_NUMBER = _Rule(_is_number, "a number")
_ONE = _Rule(lambda value: _is_number(value) and value == 1, "1")
_ZERO_OR_ONE = _Rule(lambda value: _is_number(value) and value in (0, 1), "0 or 1")
_UNIT = _Rule(lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
_BADGE = _Rule(lambda value: _is_whole(value) and 0 <= value < 1 << 31, "a whole number, 0 or more")
_EPOCH = _Rule(lambda value: _is_whole(value) and value >= 0, "epoch seconds")


def _one_of(*values: str) -> _Rule:
    return _Rule(lambda value: isinstance(value, str) and value in values, "one of " + ", ".join(values))


_ALERT: dict[str, _Rule | dict[str, Any]] = {
    **dict.fromkeys(
        (
            "title",
            "subtitle",
            "body",
            "launch-image",
            "title-loc-key",
            "subtitle-loc-key",
            "loc-key",
            "action-loc-key",
            "action",
            "summary-arg",
        ),
        _STRING,
    ),
    **dict.fromkeys(("title-loc-args", "subtitle-loc-args", "loc-args"), _STRINGS),
    "summary-arg-count": _NUMBER,
}
_SOUND: dict[str, _Rule | dict[str, Any]] = {"critical": _ZERO_OR_ONE, "name": _STRING, "volume": _UNIT}
_APS: dict[str, _Rule | dict[str, Any]] = {
    "alert": _ALERT,
    "badge": _BADGE,
    "sound": _SOUND,
    "thread-id": _STRING,
    "category": _STRING,
    "target-content-id": _STRING,
    "filter-criteria": _STRING,
    "content-available": _ONE,
    "mutable-content": _ZERO_OR_ONE,
    "interruption-level": _one_of("passive", "active", "time-sensitive", "critical"),
    "relevance-score": _UNIT,
    "url-args": _STRINGS,
    "timestamp": _EPOCH,
    "event": _one_of("start", "update", "end"),
    "content-state": _OBJECT,
    "stale-date": _EPOCH,
    "dismissal-date": _EPOCH,
    "attributes-type": _STRING,
    "attributes": _OBJECT,
    "input-push-token": _ONE,
    "input-push-channel": _STRING,
    "content-changed": _Rule(lambda value: value is True, "true"),
}
_LOCALIZED: dict[str, _Rule | dict[str, Any]] = {"loc-key": _STRING, "loc-args": _STRINGS}
_ACTIVITY_ALERT: dict[str, _Rule | dict[str, Any]] = {
    **_ALERT,
    "title": _LOCALIZED,
    "body": _LOCALIZED,
    "sound": _STRING,
}
_APS_OF = {"liveactivity": {**_APS, "alert": _ACTIVITY_ALERT, "relevance-score": _NUMBER}}
"""The schema of Live Activities: scores of any size, and an alert with localized texts and the sound
(Apple, "Starting and updating Live Activities with ActivityKit push notifications")."""
_NEEDED: dict[tuple[str, str], tuple[str, ...]] = {
    ("background", ""): ("content-available",),
    ("widgets", ""): ("content-changed",),
    ("controls", ""): ("content-changed",),
    ("liveactivity", ""): ("timestamp", "event"),
    ("liveactivity", "start"): ("content-state", "attributes-type", "attributes", "alert"),
    ("liveactivity", "update"): ("content-state",),
}
"""(push type, event of a Live Activity or "" for any) -> the keys of `aps` that it needs."""
_ALLOWED = {"background": frozenset({"content-available"})}
"""The only keys of `aps` that a push type may have; a push type that is missing here may have all."""
_STRING_TOO = frozenset(f"/payload/aps/{path}" for path in ("alert", "alert/title", "alert/body", "sound"))
"""Places where a plain string may stand in place of the object."""


def _check_keys(
    value: Any,
    pointer: str,
    table: dict[str, _Rule | dict[str, Any]],
    faults: list[Fault],
    warnings: list[Fault],
) -> None:
    if not isinstance(value, dict):
        if isinstance(value, str) and pointer in _STRING_TOO:
            return
        wanted = "a string or an object" if pointer in _STRING_TOO else "an object"
        faults.append(Fault("wrong_type", pointer, f"This must be {wanted}."))
        return
    for key, item in value.items():
        rule = table.get(key)
        if rule is None:
            warnings.append(
                Fault("unknown_key", f"{pointer}/{escape_pointer_token(key)}", "Apple ignores this key.")
            )
        elif isinstance(rule, _Rule):
            if not rule.holds(item):
                faults.append(Fault("wrong_type", f"{pointer}/{key}", f"This must be {rule.wanted}."))
        else:
            _check_keys(item, f"{pointer}/{key}", rule, faults, warnings)
