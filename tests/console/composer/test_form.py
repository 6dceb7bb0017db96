"""Translation of the composer's form into the body of a send."""

from __future__ import annotations

from typing import Any

import pytest

from relay.console.composer.form import build_body, read_draft

APP_ID = "a1"


def body(**texts: str) -> dict[str, Any]:
    """Return the body of a form with these texts, all of which must be readable."""
    body, remarks = build_body(read_draft(texts.items()), APP_ID)
    assert remarks == []
    return body


def data_pairs(*rows: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the pairs that a browser posts for rows of keys and values."""
    return [pair for key, value in rows for pair in (("data_key", key), ("data_value", value))]


def test_an_empty_form_is_an_empty_body() -> None:
    assert body() == {"app_id": APP_ID, "destinations": {}, "notification": {}}


def test_fields_become_a_notification() -> None:
    notification = body(
        title="T", body="one\r\ntwo", badge="0", sound="default", data_synchro="false", mutable_content="1"
    )["notification"]
    assert notification == {
        "title": "T",
        "body": "one\ntwo",
        "badge": 0,
        "sound": "default",
        "data_synchro": False,
        "mutable_content": True,
    }


def test_delivery_fields() -> None:
    fields = body(priority="5", ttl="0", collapse_id="c", expiration="2026-11-22T18:40")
    assert (fields["priority"], fields["ttl"], fields["collapse_id"]) == (5, 0, "c")
    assert fields["expiration"] == 1_795_372_800


def test_a_number_that_cannot_be_read_is_left_to_validation() -> None:
    assert body(badge="many")["notification"]["badge"] == "many"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [("5", 5), ('"5"', "5"), ("true", True), ("five", "five"), ("", ""), ('{"a": [1]}', {"a": [1]})],
)
def test_values_may_be_json(typed: str, sent: Any) -> None:
    body, _ = build_body(read_draft(data_pairs(("k", typed))), APP_ID)
    assert body["notification"]["user_info"] == {"k": sent}


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


def test_everyone() -> None:
    assert body(audience="everyone", recipients="c_a")["destinations"] == "all"


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        (data_pairs(("k", "1"), ("k", "2")), "data"),
        (data_pairs(("", "1")), "data"),
        ([("recipients", "d_1")], "recipients"),
        ([("editor", "payload"), ("payload", '{"a": 1, "a": 2}')], "payload"),
        ([("expiration", "tomorrow")], "expiration"),
    ],
    ids=[
        "a key twice",
        "a value without a key",
        "a device without a customer",
        "a JSON key twice",
        "no date",
    ],
)
def test_an_unreadable_field_gets_an_error(pairs: list[tuple[str, str]], field: str) -> None:
    _, remarks = build_body(read_draft(pairs), APP_ID)
    assert [(remark.field, remark.is_error) for remark in remarks] == [(field, True)]
