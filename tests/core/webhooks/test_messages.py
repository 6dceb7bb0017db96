"""Messages of webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from relay.core.webhooks.messages import (
    EVENT_OF_OUTCOME,
    MAX_COPIES,
    TEST_EVENT,
    Attempt,
    CopyName,
    EventType,
    completed_push_data,
    encode_message,
    ended_deliveries_data,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUSH = UUID(int=7)


def test_the_largest_message_is_within_the_limit_of_the_standard() -> None:
    name = CopyName("c_" + 44 * "x", "d_" + 44 * "x", "abcde")
    data = ended_deliveries_data(64 * "a", PUSH, "unregistered", 410, "Unregistered", [name] * MAX_COPIES)
    assert len(encode_message("device.unregistered", NOW, data)) < 256 * 1024


def test_a_completed_push_has_every_count() -> None:
    data = completed_push_data(
        "chess", PUSH, NOW, 5, 1, [("delivered", "", 3), ("new", "x", 1), ("failed", "x", 1)]
    )
    body = json.loads(encode_message("push.completed", NOW, data))
    assert body == {
        "type": "push.completed",
        "timestamp": "2026-03-01T12:00:00Z",
        "data": {
            "app_id": "chess",
            "push_id": str(PUSH),
            "created_at": "2026-03-01T12:00:00Z",
            "targets": 5,
            "counts": {
                **dict.fromkeys(("failed", "unregistered", "expired", "cancelled"), 0),
                "delivered": 3,
                "failed": 1,
                "new": 1,
                "skipped": 1,
            },
            "reasons": {"x": 2},
        },
    }


def test_delivered_and_cancelled_deliveries_have_no_event() -> None:
    assert not EVENT_OF_OUTCOME.keys() & {"delivered", "cancelled"}


def test_ended_deliveries_name_their_copies() -> None:
    copies = [CopyName("c_1", "d_1", ""), CopyName("c_2", "d_2", "abcde")]
    assert ended_deliveries_data("chess", PUSH, "failed", 400, "BadTopic", copies) == {
        "app_id": "chess",
        "push_id": PUSH,
        "outcome": "failed",
        "status": 400,
        "reason": "BadTopic",
        "copies": [
            {"customer": "c_1", "device": "d_1", "alongside": ""},
            {"customer": "c_2", "device": "d_2", "alongside": "abcde"},
        ],
    }
    unanswered = ended_deliveries_data("chess", PUSH, "expired", 0, "", [])
    assert (unanswered["status"], unanswered["reason"], unanswered["copies"]) == (None, None, [])


def test_the_events_and_the_outcomes_that_they_report() -> None:
    assert list(EventType) == ["push.completed", "delivery.failed", "device.unregistered"]
    assert TEST_EVENT == "webhook.test"
    assert EVENT_OF_OUTCOME == {
        "failed": "delivery.failed",
        "expired": "delivery.failed",
        "unregistered": "device.unregistered",
    }
    assert MAX_COPIES == 1000


@pytest.mark.parametrize(
    ("status", "delivered"),
    [(None, False), (199, False), (200, True), (299, True), (300, False), (500, False)],
)
def test_a_receiver_accepts_with_a_2xx(status: int | None, delivered: bool) -> None:
    assert Attempt(status).delivered is delivered
    assert Attempt(status).error == ""
