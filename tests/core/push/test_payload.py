"""The schema of payloads: faults, warnings and the bytes that are sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import Fault, Invalid
from relay.core.push.payload import check_payload, encode_payload
from relay.core.push.push_types import PUSH_TYPES, PushType, default_push_type

ALERT = PUSH_TYPES["alert"]
BACKGROUND = PUSH_TYPES["background"]


def pointers(payload: Any, push_type: str = "alert") -> set[str]:
    with pytest.raises(Invalid) as caught:
        check_payload(payload, PUSH_TYPES[push_type])
    return {fault.pointer for fault in caught.value.faults}


def test_payloads_of_the_php_sender_are_sent_unchanged() -> None:
    payload = {"aps": {"alert": {"title": "test", "subtitle": "test notification", "body": "…"}}}
    checked = check_payload(payload, ALERT)
    assert checked.encoded == json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    assert checked.warnings == ()


@pytest.mark.parametrize("payload", [[], {}, "text", 1, None, ["aps"]])
def test_a_payload_that_is_no_filled_object_is_refused(payload: Any) -> None:
    assert pointers(payload) == {"/payload"}


@pytest.mark.parametrize(
    ("aps", "pointer"),
    [
        ({"alert": 1}, "alert"),
        ({"alert": {"title": 1}}, "alert/title"),
        ({"alert": {"loc-args": "one"}}, "alert/loc-args"),
        ({"alert": {"loc-args": [1]}}, "alert/loc-args"),
        ({"badge": "1"}, "badge"),
        ({"badge": True}, "badge"),
        ({"badge": -1}, "badge"),
        ({"badge": 1.5}, "badge"),
        ({"sound": 1}, "sound"),
        ({"sound": {"volume": 2}}, "sound/volume"),
        ({"sound": {"critical": "1"}}, "sound/critical"),
        ({"thread-id": 1}, "thread-id"),
        ({"category": None}, "category"),
        ({"content-available": "1"}, "content-available"),
        ({"content-available": True}, "content-available"),
        ({"mutable-content": 2}, "mutable-content"),
        ({"interruption-level": "loud"}, "interruption-level"),
        ({"relevance-score": "high"}, "relevance-score"),
        ({"relevance-score": 1.5}, "relevance-score"),
        ({"relevance-score": -1}, "relevance-score"),
        ({"relevance-score": True}, "relevance-score"),
        ({"url-args": "a"}, "url-args"),
        ({"event": "begin"}, "event"),
        ({"timestamp": "now"}, "timestamp"),
        ({"content-state": []}, "content-state"),
    ],
)
def test_a_known_key_with_a_wrong_value_is_refused_by_name(aps: Any, pointer: str) -> None:
    assert pointers({"aps": aps}) == {f"/payload/aps/{pointer}"}


@pytest.mark.parametrize("aps", [[], "text", None, 3])
def test_aps_must_be_an_object(aps: Any) -> None:
    assert pointers({"aps": aps}) == {"/payload/aps"}


def test_a_payload_without_aps_is_refused_where_apple_needs_one() -> None:
    assert pointers({"custom": 1}) == {"/payload/aps"}
    assert check_payload({"custom": 1}, PUSH_TYPES["voip"]).encoded == b'{"custom":1}'
    assert pointers({"aps": {}}, "mdm") == {"/payload/mdm"}


def test_all_faults_are_named_at_once() -> None:
    assert pointers({"aps": {"badge": "1", "sound": 2}}) == {"/payload/aps/badge", "/payload/aps/sound"}


def test_unknown_keys_of_aps_are_warnings_and_custom_keys_are_not() -> None:
    checked = check_payload({"aps": {"alert": {"titel": "x"}, "a/b": 1}, "mine": {"alert": 1}}, ALERT)
    assert {warning.pointer for warning in checked.warnings} == {
        "/payload/aps/alert/titel",
        "/payload/aps/a~1b",
    }


@pytest.mark.parametrize(
    ("aps", "wrong"),
    [
        ({}, {"content-available"}),
        ({"badge": 1}, {"content-available", "badge"}),
        ({"content-available": 0}, {"content-available"}),
        ({"content-available": 1, "alert": "x", "sound": "s"}, {"alert", "sound"}),
        ({"content-available": 1, "mutable-content": 1, "category": "c"}, {"mutable-content", "category"}),
        ({"content-available": 1, "timestamp": 1}, {"timestamp"}),
    ],
)
def test_a_background_push_is_silent(aps: dict[str, Any], wrong: set[str]) -> None:
    assert pointers({"aps": aps}, "background") == {f"/payload/aps/{key}" for key in wrong}
    checked = check_payload({"aps": {"content-available": 1, "mine": 1}, "mine": 1}, BACKGROUND)
    assert [warning.pointer for warning in checked.warnings] == ["/payload/aps/mine"]


START: dict[str, Any] = {
    "timestamp": 1_700_000_000,
    "event": "start",
    "content-state": {},
    "attributes-type": "Game",
    "attributes": {},
    "alert": "x",
}


@pytest.mark.parametrize("missing", START)
def test_the_keys_that_start_a_live_activity(missing: str) -> None:
    assert check_payload({"aps": START}, PUSH_TYPES["liveactivity"]).warnings == ()
    aps = {key: value for key, value in START.items() if key != missing}
    # Without the event nobody knows what else is needed.
    assert pointers({"aps": aps}, "liveactivity") == {f"/payload/aps/{missing}"}


@pytest.mark.parametrize(
    ("push_type", "aps", "missing"),
    [
        ("liveactivity", {}, {"timestamp", "event"}),
        ("liveactivity", {"event": "update"}, {"timestamp", "content-state"}),
        ("liveactivity", {"event": "update", "timestamp": 1, "content-state": {}}, set()),
        ("liveactivity", {"event": "end", "timestamp": 1}, set()),
        ("liveactivity", {"event": "end", "timestamp": 1, "relevance-score": 75}, set()),
        ("liveactivity", {"event": ["start"], "timestamp": 1}, {"event"}),
        ("liveactivity", {"event": "end", "timestamp": None}, {"timestamp"}),
        ("widgets", {}, {"content-changed"}),
        ("widgets", {"content-changed": False}, {"content-changed"}),
        ("widgets", {"content-changed": True}, set()),
        ("controls", {"mine": 1}, {"content-changed"}),
        ("controls", {"content-changed": True}, set()),
        ("alert", {}, set()),
    ],
)
def test_the_keys_that_a_push_type_needs(push_type: str, aps: dict[str, Any], missing: set[str]) -> None:
    if missing:
        assert pointers({"aps": aps}, push_type) == {f"/payload/aps/{key}" for key in missing}
    else:
        check_payload({"aps": aps}, PUSH_TYPES[push_type])


LOCALIZED = {"loc-key": "%@ is knocked down!", "loc-args": ["Power Panda"]}


@pytest.mark.parametrize(
    ("alert", "wrong"),
    [
        ({"title": LOCALIZED, "body": LOCALIZED, "sound": "HeroDown.mp4"}, set()),
        ({"title": "plain", "body": "plain"}, set()),
        ({"title": {"loc-key": 1}}, {"title/loc-key"}),
        ({"body": {"loc-args": [1]}}, {"body/loc-args"}),
        ({"title": 1, "sound": {}}, {"title", "sound"}),
    ],
)
def test_each_text_of_a_live_activitys_alert_may_be_localized(alert: Any, wrong: set[str]) -> None:
    aps = {**START, "alert": alert}
    if wrong:
        assert pointers({"aps": aps}, "liveactivity") == {f"/payload/aps/alert/{path}" for path in wrong}
    else:
        assert check_payload({"aps": aps}, PUSH_TYPES["liveactivity"]).warnings == ()


def test_the_push_type_follows_from_the_payload() -> None:
    assert default_push_type({"aps": {"content-available": 1}, "mine": 1}) is BACKGROUND
    assert default_push_type({"aps": {"content-available": 1, "badge": 1}}) is ALERT
    assert default_push_type({"aps": {"alert": "x"}}) is ALERT
    assert default_push_type({"aps": []}) is ALERT


@pytest.mark.parametrize(("push_type", "limit"), [("alert", 4096), ("voip", 5120), ("background", 4096)])
def test_the_limit_is_exact(push_type: str, limit: int) -> None:
    payload: dict[str, Any] = {"aps": {"content-available": 1}, "x": ""}
    payload["x"] = "é" * 10
    room = limit - len(check_payload(payload, PUSH_TYPES[push_type]).encoded)
    payload["x"] += "a" * room
    assert len(check_payload(payload, PUSH_TYPES[push_type]).encoded) == limit
    payload["x"] += "a"
    assert pointers(payload, push_type) == {"/payload"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
aps_values = json_values | st.dictionaries(st.sampled_from([*START, "content-available"]), json_values)


@given(
    st.dictionaries(st.text(), json_values, max_size=5), aps_values, st.sampled_from([*PUSH_TYPES.values()])
)
def test_anything_is_either_refused_with_names_or_sent_unchanged(
    payload: dict[str, Any], aps: Any, push_type: PushType
) -> None:
    payload = {**payload, "aps": aps}
    faults: Sequence[Fault] = ()
    try:
        assert json.loads(check_payload(payload, push_type).encoded) == payload
    except Invalid as error:
        faults = error.faults
    assert all(fault.pointer.startswith("/payload") for fault in faults)


def test_integers_beyond_64_bits_are_sent_as_they_are() -> None:
    payload = {"aps": {"alert": "é"}, "large": 2**70, "small": -(2**70)}
    encoded = '{"aps":{"alert":"é"},"large":1180591620717411303424,"small":-1180591620717411303424}'
    assert encode_payload(payload) == encoded.encode()


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        encode_payload({"x": "\ud800"})
    detail = "The payload has a lone surrogate, which UTF-8 can't carry."
    assert refused.value.faults == (Fault("invalid_value", "/payload", detail),)


def wrong_type(key: str, detail: str) -> Fault:
    return Fault("wrong_type", f"/payload/aps/{key}", detail)


STRINGS: list[object] = ["", "x"]
NO_STRINGS: list[object] = [1, True, None, [], {}]
ARRAYS: list[object] = [[], ["x", ""]]
NO_ARRAYS: list[object] = ["x", [1], [None], {}, 1, None]
OBJECTS: list[object] = [{}, {"x": 1}]
NO_OBJECTS: list[object] = ["x", 1, [], None]
EPOCHS: list[object] = [0, 1, 5.0, 2**40]
NO_EPOCHS: list[object] = [-1, 1.5, True, "1", None]
ONES: list[object] = [1, 1.0]
NO_ONES: list[object] = [0, 2, True, "1", None]
ZEROS_AND_ONES: list[object] = [0, 1, 1.0]
NO_ZEROS_AND_ONES: list[object] = [2, -1, 0.5, True, "1", None]
UNITS: list[object] = [0, 0.5, 1]
NO_UNITS: list[object] = [-0.1, 1.1, True, "1", None]
NUMBERS: list[object] = [-1, 0, 1.5, 100]
NO_NUMBERS: list[object] = [True, "1", None]
KEYS = [
    *(
        (f"alert/{key}", STRINGS, NO_STRINGS)
        for key in ("title", "subtitle", "body", "launch-image", "title-loc-key")
    ),
    *(
        (f"alert/{key}", STRINGS, NO_STRINGS)
        for key in ("subtitle-loc-key", "loc-key", "action-loc-key", "action")
    ),
    *((f"alert/{key}", STRINGS, NO_STRINGS) for key in ("summary-arg",)),
    *((f"alert/{key}", ARRAYS, NO_ARRAYS) for key in ("title-loc-args", "subtitle-loc-args", "loc-args")),
    ("alert/summary-arg-count", NUMBERS, NO_NUMBERS),
    ("alert", ["", "x", {}], [1, None, []]),
    ("badge", [0, 1, 5.0, 2**31 - 1], [-1, 2**31, 1.5, True, "1", None]),
    ("sound", ["", "x", {}], [1, None, []]),
    ("sound/critical", ZEROS_AND_ONES, NO_ZEROS_AND_ONES),
    ("sound/name", STRINGS, NO_STRINGS),
    ("sound/volume", UNITS, NO_UNITS),
    *(
        (key, STRINGS, NO_STRINGS)
        for key in ("thread-id", "category", "target-content-id", "filter-criteria")
    ),
    ("content-available", ONES, NO_ONES),
    ("mutable-content", ZEROS_AND_ONES, NO_ZEROS_AND_ONES),
    (
        "interruption-level",
        ["passive", "active", "time-sensitive", "critical"],
        ["", "x", 1, None, ["active"]],
    ),
    ("relevance-score", UNITS, NO_UNITS),
    ("url-args", ARRAYS, NO_ARRAYS),
    ("timestamp", EPOCHS, NO_EPOCHS),
    ("event", ["start", "update", "end"], ["", "x", 1, None, ["end"]]),
    ("content-state", OBJECTS, NO_OBJECTS),
    ("stale-date", EPOCHS, NO_EPOCHS),
    ("dismissal-date", EPOCHS, NO_EPOCHS),
    ("attributes-type", STRINGS, NO_STRINGS),
    ("attributes", OBJECTS, NO_OBJECTS),
    ("input-push-token", ONES, NO_ONES),
    ("input-push-channel", STRINGS, NO_STRINGS),
    ("content-changed", [True], [False, 1, "true", None]),
]


def with_value(path: str, value: object) -> dict[str, Any]:
    for key in reversed(path.split("/")):
        value = {key: value}
    return {"aps": value}


@pytest.mark.parametrize(("path", "right", "wrong"), KEYS)
def test_the_values_of_each_key(path: str, right: list[object], wrong: list[object]) -> None:
    for value in right:
        assert check_payload(with_value(path, value), ALERT).warnings == ()
    for value in wrong:
        with pytest.raises(Invalid) as refused:
            check_payload(with_value(path, value), ALERT)
        [fault] = refused.value.faults
        assert (fault.code, fault.pointer) == ("wrong_type", f"/payload/aps/{path}"), value


@pytest.mark.parametrize(
    ("payload", "push_type", "fault"),
    [
        (
            [],
            "alert",
            Fault(
                "wrong_type",
                "/payload",
                "The payload must be an object. PHP writes an empty map as []: cast it to an object.",
            ),
        ),
        ("x", "alert", Fault("wrong_type", "/payload", "The payload must be an object.")),
        ({}, "alert", Fault("empty", "/payload", "The payload is empty.")),
        ({"x": 1}, "alert", Fault("missing_field", "/payload/aps", "The payload needs an `aps` object.")),
        ({"x": 1}, "mdm", Fault("missing_field", "/payload/mdm", "An mdm push needs the string `mdm`.")),
        ({"mdm": 1}, "mdm", Fault("missing_field", "/payload/mdm", "An mdm push needs the string `mdm`.")),
        (
            {"x": "a" * 4089},
            "alert",
            Fault("payload_too_large", "/payload", "The payload has 4097 bytes; alert allows 4096."),
        ),
        (
            {"aps": {"content-available": 1, "badge": 1}},
            "background",
            Fault(
                "not_allowed", "/payload/aps/badge", "A push of the type background must not have `badge`."
            ),
        ),
        (
            {"aps": {}},
            "background",
            Fault(
                "missing_field",
                "/payload/aps/content-available",
                "A push of the type background needs `content-available`.",
            ),
        ),
        (
            {"aps": {"timestamp": 1, "event": "update"}},
            "liveactivity",
            Fault(
                "missing_field",
                "/payload/aps/content-state",
                "A push of the type liveactivity with the event update needs `content-state`.",
            ),
        ),
        (
            {"aps": {"badge": "x"}},
            "alert",
            Fault("wrong_type", "/payload/aps/badge", "This must be a whole number, 0 or more."),
        ),
        (
            {"aps": {"event": "x"}},
            "alert",
            Fault("wrong_type", "/payload/aps/event", "This must be one of start, update, end."),
        ),
        (
            {"aps": {"sound": 1}},
            "alert",
            Fault("wrong_type", "/payload/aps/sound", "This must be a string or an object."),
        ),
        ({"aps": 1}, "alert", Fault("wrong_type", "/payload/aps", "This must be an object.")),
    ],
)
def test_a_fault_says_what_must_change(payload: Any, push_type: str, fault: Fault) -> None:
    with pytest.raises(Invalid) as refused:
        check_payload(payload, PUSH_TYPES[push_type])
    assert refused.value.faults == (fault,)


def test_a_warning_says_which_key_is_ignored() -> None:
    warnings = check_payload({"aps": {"a/b": 1}}, ALERT).warnings
    assert warnings == (Fault("unknown_key", "/payload/aps/a~1b", "Apple ignores this key."),)
