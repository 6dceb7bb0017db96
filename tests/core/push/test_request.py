"""The values of a send request, and the answer to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from relay.core.errors import Fault
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.request import PushRequest, SendBody, accept_push

PUSH = UUID(int=7)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_unknown_fields_of_a_body_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `prioritaet`"):
        msgspec.convert({"app_id": "x", "destinations": {}, "prioritaet": 5}, SendBody)


def test_the_optional_fields_of_a_body() -> None:
    body = msgspec.convert({"app_id": "x", "destinations": "all"}, SendBody)
    assert (body.payload, body.notification) == (msgspec.UNSET, msgspec.UNSET)
    assert (body.push_type, body.priority, body.expiration, body.ttl) == (None, None, None, None)
    assert (body.collapse_id, body.activity, body.debug) == (None, None, False)


def test_a_request_is_for_the_named_destinations_unless_it_says_otherwise() -> None:
    headers = PushHeaders("alert", 10)
    request = PushRequest("app", PUSH, UUID(int=1), NOW, NOW, headers, "apns", b"{}", False, ["c_1"], [])
    assert (request.addresses, request.places, request.everyone) == ((), None, False)
    assert (request.warnings, request.key, request.sent_by) == ([], None, None)


@pytest.mark.parametrize(("targets", "skipped"), [(3, 1), (None, None)])
def test_the_answer_counts_targets_and_skipped_installations(
    targets: int | None, skipped: int | None
) -> None:
    accepted = accept_push(PUSH, targets, skipped, [Fault("unreachable", "/destinations/c_1", "x")])
    assert accepted.push_id == PUSH
    assert json.loads(accepted.answer) == {
        "success": True,
        "push_id": str(PUSH),
        "targets": targets,
        "skipped": skipped,
        "warnings": [{"code": "unreachable", "pointer": "/destinations/c_1", "detail": "x"}],
        "errors": [],
    }
