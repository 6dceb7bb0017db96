"""Notifications: every field of 4D, and exactly the payload that 4D builds from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import Fault, Invalid
from relay.core.push import payload as payloads
from relay.core.push.notification import (
    PUSH_TYPE,
    check_notification,
    draft_notification,
    notification_from_payload,
)


def built(**fields: Any) -> Any:
    return json.loads(check_notification(fields).encoded)


def faults(notification: Any) -> set[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        check_notification(notification)
    return {(fault.code, fault.pointer) for fault in caught.value.faults}


RECORD = {"data_class": "Employees", "primary_key": "456456"}
OPENED = {"dataClass": "Employees", "entity": {"primaryKey": "456456"}}


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ({}, {}),
        ({"subtitle": "S", "body": "B"}, {"aps": {"alert": {"subtitle": "S", "body": "B"}}}),
        ({"badge": 3}, {"aps": {"badge": 3}}),
        ({"badge": 3.0}, {"aps": {"badge": 3}}),
        ({"badge": 0}, {"aps": {"badge": 0}}),
        ({"sound": "bell.caf"}, {"aps": {"sound": "bell.caf"}}),
        ({"category": "NEWS"}, {"aps": {"category": "NEWS"}}),
        ({"url": "https://example.com"}, {"aps": {"url": "https://example.com"}}),
        ({"mutable_content": True}, {"aps": {"mutable-content": 1}}),
        ({"mutable_content": False}, {}),
        (
            {"image_url": "https://example.com/a.png"},
            {"aps": {"mutable-content": 1}, "data": {"media-url": "https://example.com/a.png"}},
        ),
        ({"user_info": {"mine": [1], "data": 2}}, {"mine": [1], "data": 2}),
        ({"user_info": {"dataSynchro": True}}, {"dataSynchro": True}),
        # A list is opened; nothing is said of synchronising, unless the caller says it.
        ({"open": {"data_class": "Employees"}}, {"dataClass": "Employees"}),
        (
            {"open": {"data_class": "Employees"}, "data_synchro": True},
            {"dataClass": "Employees", "dataSynchro": True},
        ),
        # A record is opened; then data is synchronised, unless the caller says otherwise.
        ({"open": RECORD}, {**OPENED, "dataSynchro": True}),
        (
            {"open": {**RECORD, "primary_key": 7}},
            {**OPENED, "entity": {"primaryKey": 7}, "dataSynchro": True},
        ),
        ({"open": RECORD, "data_synchro": False}, {**OPENED, "dataSynchro": False}),
        ({"open": RECORD, "user_info": {"dataSynchro": False}}, {**OPENED, "dataSynchro": False}),
        ({"open": RECORD, "user_info": {"dataSynchro": None}}, {**OPENED, "dataSynchro": True}),
        # Beyond 4D.
        ({"thread_id": "t"}, {"aps": {"thread-id": "t"}}),
        ({"interruption_level": "passive"}, {"aps": {"interruption-level": "passive"}}),
        ({"sound": {"critical": 1, "name": "a"}}, {"aps": {"sound": {"critical": 1, "name": "a"}}}),
        (
            {"title_loc_key": "T", "title_loc_args": ["a"], "subtitle_loc_key": "S", "loc_key": "B"},
            {
                "aps": {
                    "alert": {
                        "title-loc-key": "T",
                        "title-loc-args": ["a"],
                        "subtitle-loc-key": "S",
                        "loc-key": "B",
                    }
                }
            },
        ),
        # "" and null are nothing, as in 4D.
        (
            {
                "subtitle": "",
                "body": None,
                "badge": None,
                "sound": "",
                "url": "",
                "image_url": "",
                "open": None,
            },
            {},
        ),
    ],
)
def test_each_field_is_where_the_app_looks_for_it(fields: dict[str, Any], payload: dict[str, Any]) -> None:
    aps = payload.get("aps", {})
    whole = {**payload, "aps": {**aps, "alert": {"title": "T", **aps.get("alert", {})}}}
    assert built(title="T", **fields) == whole
    assert check_notification({"title": "T", **fields}).warnings == ()


def test_all_of_it_at_once() -> None:
    assert built(
        title="This is title",
        subtitle="sub",
        body="Here is the content of this notification",
        badge=1,
        sound="default",
        category="c",
        url="u",
        image_url="i",
        user_info={"a": 1},
        open=RECORD,
    ) == {
        "aps": {
            "alert": {
                "title": "This is title",
                "subtitle": "sub",
                "body": "Here is the content of this notification",
            },
            "badge": 1,
            "sound": "default",
            "category": "c",
            "url": "u",
            "mutable-content": 1,
        },
        "data": {"media-url": "i"},
        "a": 1,
        **OPENED,
        "dataSynchro": True,
    }


def test_a_localised_title_is_a_title() -> None:
    assert built(title_loc_key="HELLO") == {"aps": {"alert": {"title-loc-key": "HELLO"}}}


@pytest.mark.parametrize(
    ("notification", "code", "pointer"),
    [
        ("text", "wrong_type", ""),
        ([], "wrong_type", ""),
        ({}, "missing_field", "/title"),
        ({"title": ""}, "missing_field", "/title"),
        ({"title": None}, "missing_field", "/title"),
        ({"title": 1}, "wrong_type", "/title"),
        ({"title": "t", "body": ["b"]}, "wrong_type", "/body"),
        ({"title": "t", "badge": "1"}, "wrong_type", "/badge"),
        ({"title": "t", "badge": 1.5}, "wrong_type", "/badge"),
        ({"title": "t", "badge": True}, "wrong_type", "/badge"),
        ({"title": "t", "sound": 1}, "wrong_type", "/sound"),
        ({"title": "t", "sound": {"volume": 2}}, "wrong_type", "/sound/volume"),
        ({"title": "t", "category": 1}, "wrong_type", "/category"),
        ({"title": "t", "thread_id": 1}, "wrong_type", "/thread_id"),
        ({"title": "t", "interruption_level": "loud"}, "wrong_type", "/interruption_level"),
        ({"title": "t", "url": 1}, "wrong_type", "/url"),
        ({"title": "t", "image_url": {}}, "wrong_type", "/image_url"),
        ({"title": "t", "mutable_content": 1}, "wrong_type", "/mutable_content"),
        ({"title": "t", "image_url": "i", "mutable_content": False}, "not_allowed", "/mutable_content"),
        ({"title": "t", "user_info": []}, "wrong_type", "/user_info"),
        ({"title": "t", "user_info": {"aps": {}}}, "not_allowed", "/user_info/aps"),
        ({"title": "t", "user_info": {"data": {}}, "image_url": "i"}, "not_allowed", "/user_info/data"),
        ({"title": "t", "user_info": {"entity": {}}, "open": RECORD}, "not_allowed", "/user_info/entity"),
        (
            {"title": "t", "user_info": {"dataSynchro": 1}, "data_synchro": False},
            "not_allowed",
            "/data_synchro",
        ),
        ({"title": "t", "data_synchro": 1}, "wrong_type", "/data_synchro"),
        ({"title": "t", "open": "Employees"}, "wrong_type", "/open"),
        ({"title": "t", "open": {}}, "missing_field", "/open/data_class"),
        ({"title": "t", "open": {"data_class": 1}}, "wrong_type", "/open/data_class"),
        ({"title": "t", "open": {**RECORD, "primary_key": True}}, "wrong_type", "/open/primary_key"),
        ({"title": "t", "open": {**RECORD, "a/b": 1}}, "unknown_field", "/open/a~1b"),
        ({"title": "t", "title_loc_args": ["a"]}, "missing_field", "/title_loc_key"),
        ({"title": "t", "loc_key": "b", "loc_args": [1]}, "wrong_type", "/loc_args"),
        ({"title": "t", "imageUrl": "i"}, "unknown_field", "/imageUrl"),
        ({"title": "x" * 4096}, "payload_too_large", ""),
        ({"title": "\ud800"}, "invalid_value", ""),
    ],
)
def test_a_mistake_is_named_at_its_place(notification: Any, code: str, pointer: str) -> None:
    assert faults(notification) == {(code, f"/notification{pointer}")}


def test_everything_that_is_wrong_is_named_at_once() -> None:
    named = faults({"badge": "1", "open": {"primary_key": 1}, "user_info": 1, "colour": 1})
    assert {pointer for _, pointer in named} == {
        f"/notification/{field}" for field in ("title", "badge", "open/data_class", "user_info", "colour")
    }


def test_a_flood_of_unknown_fields_is_not_named_one_by_one() -> None:
    assert len(faults({"title": "t", **{f"f{number}": 1 for number in range(10_000)}})) == 20


def test_a_key_of_a_sound_that_apple_ignores_is_a_warning() -> None:
    [warning] = check_notification({"title": "t", "sound": {"name": "a", "colour": 1}}).warnings
    assert warning == Fault("unknown_key", "/notification/sound/colour", "Apple ignores this key.")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    *("title", "subtitle", "body", "badge", "sound", "category", "thread_id", "interruption_level", "url"),
    *(
        "image_url",
        "mutable_content",
        "user_info",
        "open",
        "data_synchro",
        "title_loc_key",
        "loc_args",
        "more",
    ),
)


@given(st.dictionaries(st.sampled_from(FIELDS), values) | values)
def test_any_value_is_a_payload_or_is_refused_where_it_stands(notification: Any) -> None:
    refused: tuple[Fault, ...] = ()
    try:
        checked = check_notification(notification)
    except Invalid as error:
        refused = error.faults
    else:
        assert payloads.check_payload(json.loads(checked.encoded), PUSH_TYPE)
    assert all(fault.pointer.startswith("/notification") for fault in refused)


# --- and back ---


@pytest.mark.parametrize(
    "fields",
    [
        {"subtitle": "S", "body": "B", "badge": 0, "sound": "default"},
        {"image_url": "https://example.com/a.png"},
        {"mutable_content": True, "url": "https://example.com"},
        {"open": RECORD, "data_synchro": False},
        {"open": {"data_class": "Employees", "primary_key": 7}},
        {"user_info": {"data": {"a": 1}, "mine": None}},
        {"title_loc_key": "T", "title_loc_args": ["a"]},
    ],
)
def test_the_payload_of_a_notification_becomes_a_notification_again(fields: dict[str, Any]) -> None:
    payload = draft_notification({"title": "T", **fields})
    back = notification_from_payload(payload)
    assert back is not None
    assert draft_notification(back) == payload


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"aps": {"alert": "text"}},
        {"aps": {"alert": {"title": "T"}, "content-available": 1}},
        {"aps": {"alert": {"title": "T"}, "mutable-content": 0}},
        {"aps": {"alert": {"title": "T"}, "mutable-content": True}},
        {"aps": {"alert": {"title": "T", "body": ""}}},
        {"aps": {"alert": {"title": "T"}, "mutable-content": 1}, "data": {"media-url": "u", "more": 1}},
        {"aps": {"alert": {"title": "T"}}, "entity": {"primaryKey": 1}, "dataClass": "A"},
        {"aps": []},
    ],
)
def test_a_payload_that_no_notification_becomes_has_none(payload: dict[str, Any]) -> None:
    assert notification_from_payload(payload) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda of: st.lists(of, max_size=3)
)
_KEYS = st.text().filter(lambda key: key not in {"dataClass", "entity"})  # these open a record


@given(
    st.fixed_dictionaries(
        {"title": st.text()},
        optional={
            "body": st.text(),
            "badge": st.integers(0, 9),
            "mutable_content": st.booleans(),
            "image_url": st.text(),
            "user_info": st.dictionaries(_KEYS, _JSON, max_size=3),
            "data_synchro": st.booleans(),
        },
    )
)
def test_conversion_in_both_directions_is_lossless(notification: dict[str, Any]) -> None:
    payload = draft_notification(notification)
    back = notification_from_payload(payload)
    assert back is not None
    assert draft_notification(back) == payload


def test_the_keys_of_a_record_are_not_user_info() -> None:
    payload = {"aps": {"alert": {"title": "T"}}, "dataClass": "Event", "entity": {"primaryKey": 5}, "mine": 1}
    payload["dataSynchro"] = True
    notification = notification_from_payload(payload)
    assert notification is not None
    assert notification["user_info"] == {"mine": 1}
    assert notification["open"] == {"data_class": "Event", "primary_key": 5}
