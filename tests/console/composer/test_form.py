"""The composer's form and the body of a send: what is typed is asked for, and nothing is lost between editors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.console.composer.form import (
    PAYLOAD,
    Draft,
    Remark,
    as_notification,
    as_payload,
    body_of,
    by_field,
    pairs_of,
    read,
    remarks_of,
)
from relay.core.errors import Fault
from relay.core.push import notification as notifications

APP = "a1"

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Properties are not timed: on a busy machine a single example may take long for no fault of its own."""


def body(**texts: str) -> dict[str, Any]:
    """The body of a form with these texts; nothing of it may be unreadable."""
    made, remarks = body_of(read(texts.items()), APP)
    assert remarks == []
    return made


def test_an_empty_form_asks_for_nothing() -> None:
    assert body() == {"app_id": APP, "destinations": {}, "notification": {}}


def test_fields_become_a_notification() -> None:
    made = body(
        title="T", body="one\r\ntwo", badge="0", sound="default", data_synchro="false", mutable_content="1"
    )
    assert made["notification"] == {
        "title": "T",
        "body": "one\ntwo",
        "badge": 0,
        "sound": "default",
        "data_synchro": False,
        "mutable_content": True,
    }


def test_headers_are_the_bodys() -> None:
    made = body(priority="5", ttl="0", collapse_id="c", expiration="2026-11-22T18:40")
    assert (made["priority"], made["ttl"], made["collapse_id"]) == (5, 0, "c")
    assert made["expiration"] == 1_795_372_800


def test_what_is_no_number_is_left_to_the_check() -> None:
    assert body(badge="many")["notification"]["badge"] == "many"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [("5", 5), ('"5"', "5"), ("true", True), ("five", "five"), ("", ""), ('{"a": [1]}', {"a": [1]})],
)
def test_a_value_that_is_json_is_sent_as_such(typed: str, sent: Any) -> None:
    made, _ = body_of(read([("data_key", "k"), ("data_value", typed)]), APP)
    assert made["notification"]["user_info"] == {"k": sent}


def test_a_key_that_is_there_twice_is_told() -> None:
    pairs = [("data_key", "k"), ("data_value", "1"), ("data_key", "k"), ("data_value", "2")]
    _, remarks = body_of(read(pairs), APP)
    assert [remark.field for remark in remarks] == ["data"]


@pytest.mark.parametrize(
    ("typed", "destinations"),
    [
        ("", {}),
        ("c_a", {"c_a": []}),
        ("c_a, anna@example.com;\nc_b", {"c_a": [], "anna@example.com": [], "c_b": []}),
        ("c_a d_1 d_2 c_b", {"c_a": ["d_1", "d_2"], "c_b": []}),
        ("c_a d_1\nc_a d_2", {"c_a": ["d_1", "d_2"]}),
        ("c_a\nc_a d_2", {"c_a": []}),
        ("c_a d_1\nc_a", {"c_a": []}),
    ],
)
def test_recipients(typed: str, destinations: dict[str, list[str]]) -> None:
    assert body(recipients=typed)["destinations"] == destinations


def test_a_device_without_its_customer_is_told() -> None:
    _, remarks = body_of(read([("recipients", "d_1")]), APP)
    assert [remark.field for remark in remarks] == ["recipients"]


def test_everybody() -> None:
    assert body(audience="everyone", recipients="c_a")["destinations"] == "all"


def test_a_payload_is_read_strictly() -> None:
    draft = read([("editor", PAYLOAD), ("payload", '{"a": 1, "a": 2}')])
    _, [remark] = body_of(draft, APP)
    assert remark.field == "payload"


# --- between the editors ---


@pytest.mark.parametrize(
    "payload",
    [
        {"aps": {"alert": {"title": "T", "body": "a\nb"}, "badge": 2, "sound": "default"}},
        {"aps": {"alert": {"title": "T"}, "sound": {"critical": 1, "name": "a", "volume": 0.5}}},
        {
            "aps": {"alert": {"title": "T"}, "mutable-content": 1},
            "data": {"media-url": "https://example.com/a"},
        },
        {
            "aps": {"alert": {"title": "T"}},
            "dataClass": "A",
            "entity": {"primaryKey": "7"},
            "dataSynchro": True,
        },
        {"aps": {"alert": {"title": "T"}}, "mine": {"a": [1, None, "x"]}, "text": "5", "lines": "a\nb"},
    ],
)
def test_a_payload_goes_to_the_fields_and_back(payload: dict[str, Any]) -> None:
    fields = as_notification(Draft(PAYLOAD, texts={"payload": json.dumps(payload), "ttl": "5"}))
    assert fields is not None
    back = as_payload(read(pairs_of(fields)))
    assert back is not None
    assert json.loads(back["payload"]) == payload
    assert back["ttl"] == "5"


@pytest.mark.parametrize(
    "texts",
    [
        {"payload": '{"aps": {"alert": "plain"}}'},
        {"payload": '{"aps": {"alert": {"title": "T", "loc-key": "K"}}}'},
        {"payload": '{"aps": {"alert": {"title": "two\\nlines"}}}'},
        {"payload": '{"aps": {"alert": {"title": "T"}, "interruption-level": "loud"}}'},
        {"payload": '{"aps": {"alert": {"title": "T"}}}', "push_type": "background"},
        {"payload": "no JSON"},
    ],
)
def test_what_the_fields_cannot_say_stays(texts: dict[str, str]) -> None:
    assert as_notification(Draft(PAYLOAD, texts=texts)) is None


def test_half_a_character_is_never_on_a_page() -> None:
    payload = '{"aps": {"alert": {"title": "T"}, "\\ud800": 1}, "mine": "\\ud800"}'
    draft = Draft(PAYLOAD, texts={"payload": payload})
    moved = as_notification(draft)
    assert moved is None
    [remark] = remarks_of([Fault("unknown_key", "/payload/aps/\ud800", "detail")], is_error=False)
    remark.text.encode()
    typed = as_payload(read([("title", "T"), ("data_key", "k"), ("data_value", '"\\ud800"')]))
    assert typed is None or typed["payload"].encode()


def test_an_empty_payload_is_an_empty_form() -> None:
    assert as_notification(Draft(PAYLOAD)) == Draft()


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@CALM
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("title", "subtitle", "body", "thread_id", "url", "badge"), _TEXT)
    ),
    st.lists(st.tuples(_TEXT.filter(bool), _TEXT), max_size=3, unique_by=lambda row: row[0]),
)
def test_no_field_is_lost_on_the_way_to_json(texts: dict[str, str], data: list[tuple[str, str]]) -> None:
    draft = Draft(texts=texts, data=data)
    moved = as_payload(draft)
    if moved is None:  # a key of the data is one of the payload's own
        assert {"aps", "data"} & {key for key, _ in data}
        return
    asked, _ = body_of(draft, APP)
    assert json.loads(moved["payload"]) == notifications.draft(asked["notification"])


# --- what is said, at its field ---


@pytest.mark.parametrize(
    ("pointer", "field", "begins"),
    [
        ("/notification/title", "title", "detail"),
        ("/notification/open/primary_key", "primary_key", "detail"),
        ("/notification/user_info/a~1b", "data", "a/b: "),
        ("/notification/loc_key", "", "detail"),
        ("/payload/aps/badge", "payload", "aps/badge: "),
        ("/payload", "payload", "detail"),
        ("/destinations/anna@example.com", "recipients", "anna@example.com: "),
        ("/destinations/c_x/0", "recipients", "c_x (device): "),
        ("/destinations", "recipients", "detail"),
        ("/ttl", "ttl", "detail"),
        ("/app_id", "", "detail"),
        ("", "", "detail"),
    ],
)
def test_a_fault_finds_its_field(pointer: str, field: str, begins: str) -> None:
    [remark] = remarks_of([Fault("code", pointer, "detail")], is_error=True)
    assert remark.field == field
    assert remark.text.startswith(begins)


def test_what_is_too_large_stands_at_the_size() -> None:
    [remark] = remarks_of([Fault("payload_too_large", "/notification", "Too large.")], is_error=True)
    assert remark.field == "size"


def test_of_many_remarks_a_few_are_shown_and_errors_first() -> None:
    many = [Remark("recipients", f"warning {number}", is_error=False) for number in range(20)]
    shown = by_field([*many, Remark("recipients", "an error")])["recipients"]
    assert shown[0].text == "an error"
    assert shown[-1].text == "And 16 more."
