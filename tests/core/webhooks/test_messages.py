"""Messages of webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

from relay.core.webhooks.messages import (
    EVENT_OF_OUTCOME,
    MAX_COPIES,
    CopyName,
    completed_push_data,
    encode_message,
    ended_deliveries_data,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUSH = UUID(int=7)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The one of Standard Webhooks' own examples."""


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
