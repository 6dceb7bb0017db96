"""The content of a send request: a payload or a notification, never both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.core.errors import Fault, Invalid
from relay.core.push.content import check_content, draft_content
from relay.core.push.request import SendBody

EITHER = "Give either `payload` or `notification`."


def body(**fields: Any) -> SendBody:
    return SendBody(app_id="app", destinations={}, **fields)


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ({"payload": {"aps": {"alert": "x"}}}, {"aps": {"alert": "x"}}),
        ({"payload": {"custom": 1}, "push_type": "voip"}, {"custom": 1}),
        ({"notification": {"title": "x"}}, {"aps": {"alert": {"title": "x"}}}),
    ],
)
def test_the_content_is_a_payload_fit_to_send(fields: dict[str, Any], payload: object) -> None:
    checked = check_content(body(**fields))
    assert (json.loads(checked.encoded), checked.warnings) == (payload, ())


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, Fault("missing_field", "/payload", EITHER)),
        ({"payload": {}, "notification": {}}, Fault("not_allowed", "/notification", EITHER)),
        ({"payload": None, "notification": None}, Fault("not_allowed", "/notification", EITHER)),
        ({"payload": {"x": 1}}, Fault("missing_field", "/payload/aps", "The payload needs an `aps` object.")),
        (
            {"notification": {}},
            Fault("missing_field", "/notification/title", "A notification needs a title."),
        ),
    ],
)
def test_other_content_is_refused(fields: dict[str, Any], fault: Fault) -> None:
    with pytest.raises(Invalid) as refused:
        check_content(body(**fields))
    assert refused.value.faults == (fault,)


@pytest.mark.parametrize(
    ("fields", "payload", "push_type"),
    [
        ({}, {}, "alert"),
        ({"payload": ["no object"]}, {}, "alert"),
        ({"payload": {"aps": {"content-available": 1}}}, {"aps": {"content-available": 1}}, "background"),
        ({"payload": {"a": 1}, "push_type": "voip"}, {"a": 1}, "voip"),
        ({"notification": {"body": "x"}}, {"aps": {"alert": {"body": "x"}}}, "alert"),
    ],
)
def test_a_draft_shows_the_part_that_is_right(
    fields: dict[str, Any], payload: object, push_type: str
) -> None:
    drafted, chosen = draft_content(body(**fields))
    assert (drafted, chosen.name) == (payload, push_type)
