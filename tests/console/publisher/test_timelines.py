"""Timelines of test devices, built from traces."""

from __future__ import annotations

from typing import Any

import pytest

from relay.console.publisher.timelines import build_timelines

ANSWER = {"fate": "answered", "status": 200, "reason": "", "timestamp_ms": None, "apns_unique_id": None}
UNREGISTERED = {"status": 410, "reason": "Unregistered"}
UNAVAILABLE = {"status": 503, "reason": "ServiceUnavailable"}


def trace(attempt: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "route": {"customer": "c_1", "device": "d_1", "alongside": ""},
        "label": "Anna's phone",
        "failure_domain": "ok",
        "simulated": False,
        "team_id": "TEAM000001",
        "environment": "production",
        "environment_known": True,
        "credential_kind": "token",
        "headers": {"apns-id": "1-2-3"},
        "answer": {**ANSWER, **changes.pop("answer", {})},
        "verdict": "delivered",
        "accepted_at": "2026-03-01T12:00:00Z",
        "sent_at": "2026-03-01T12:00:01Z",
        "answered_at": "2026-03-01T12:00:01.250Z",
        **changes,
    }


def test_a_delivery_has_three_moments() -> None:
    [timeline] = build_timelines([trace()])
    accepted, sent, answered = timeline.moments
    assert "accepted" in accepted.title
    assert ("apns-id", "1-2-3") in sent.details
    assert (answered.tone, answered.text) == ("good", "After 250 ms.")


def test_a_retry_waits_and_is_followed_by_an_attempt() -> None:
    [timeline] = build_timelines([trace(0, answer=UNAVAILABLE, verdict="retry"), trace(1)])
    assert [moment.tone for moment in timeline.moments] == ["", "", "wait", "", "good"]
    assert "503 ServiceUnavailable" in timeline.moments[2].title


def test_a_simulated_answer_says_so_and_retires_no_token() -> None:
    [timeline] = build_timelines(
        [
            trace(
                answer=UNREGISTERED,
                verdict="retire_unregistered",
                simulated=True,
                failure_domain="unregistered",
            )
        ]
    )
    assert "simulated" in timeline.moments[1].title
    assert "stays active" in timeline.moments[2].text


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ({"fate": "not_sent", "status": None, "reason": "BadCredential"}, "could not be sent: BadCredential"),
        ({"fate": "unknown", "status": None}, "No answer came"),
    ],
)
def test_an_attempt_without_an_answer(answer: dict[str, Any], title: str) -> None:
    [timeline] = build_timelines([trace(answer=answer, verdict="retry")])
    assert title in timeline.moments[-1].title


def test_side_by_side_copies_have_a_timeline_each() -> None:
    other = trace(route={"customer": "c_1", "device": "d_1", "alongside": "B"})
    assert [timeline.alongside for timeline in build_timelines([trace(), other])] == ["", "B"]
