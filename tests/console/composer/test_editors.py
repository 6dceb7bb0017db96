"""Moves between the two editors lose nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.console.composer.editors import move_to_notification, move_to_payload
from relay.console.composer.fields import Editor
from relay.console.composer.form import Draft, build_body, form_pairs, read_draft
from relay.core.push import notification as notifications

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a busy machine a single example may take long."""


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
def test_a_payload_moves_to_the_fields_and_back(payload: dict[str, Any]) -> None:
    fields = move_to_notification(Draft(Editor.PAYLOAD, texts={"payload": json.dumps(payload), "ttl": "5"}))
    assert fields is not None
    back = move_to_payload(read_draft(form_pairs(fields)))
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
        {"payload": '{"aps": {"alert": {"title": "T"}, "\\ud800": 1}, "mine": "\\ud800"}'},
        {"payload": "no JSON"},
    ],
)
def test_a_payload_that_the_fields_cannot_express_stays(texts: dict[str, str]) -> None:
    assert move_to_notification(Draft(Editor.PAYLOAD, texts=texts)) is None


def test_half_of_a_surrogate_pair_stays_escaped() -> None:
    pairs = [("title", "T"), ("data_key", "k"), ("data_value", '"\\ud800"')]
    moved = move_to_payload(read_draft(pairs))
    assert moved is None or moved["payload"].encode()


def test_an_empty_payload_is_an_empty_form() -> None:
    assert move_to_notification(Draft(Editor.PAYLOAD)) == Draft()


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@UNTIMED
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("title", "subtitle", "body", "thread_id", "url", "badge"), _TEXT)
    ),
    st.lists(st.tuples(_TEXT.filter(bool), _TEXT), max_size=3, unique_by=lambda row: row[0]),
)
def test_no_field_is_lost_on_the_way_to_json(texts: dict[str, str], data: list[tuple[str, str]]) -> None:
    draft = Draft(texts=texts, data=data)
    moved = move_to_payload(draft)
    if moved is None:  # the data would overwrite a key of the payload
        assert {"aps", "data"} & {key for key, _ in data}
        return
    body, _ = build_body(draft, "a1")
    assert json.loads(moved["payload"]) == notifications.draft_notification(body["notification"])
