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
