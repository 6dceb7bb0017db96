"""What is drawn of a push: the notification on a lock screen, the bar of outcomes, and a test device's time line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.console.composer.lock_screen import picture
from relay.console.publisher.timelines import WIDTH, bar, reasons, time_lines
from relay.core.delivery.outcomes import Outcome
from relay.core.push.push_types import PUSH_TYPES

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Properties are not timed: on a busy machine a single example may take long for no fault of its own."""


def drawn(aps: Any, push_type: str = "alert", **beside: Any) -> Any:
    return picture({"aps": aps, **beside}, push_type, "Notes")


def test_words_are_where_they_belong() -> None:
    seen = drawn({"alert": {"title": "T", "subtitle": "S", "body": "B"}, "badge": 3})
    assert (seen.title, seen.subtitle, seen.body, seen.badge) == ("T", "S", "B", 3)


def test_without_a_title_the_app_is_named() -> None:
    assert drawn({"alert": "B"}).title == "Notes"


def test_words_of_the_apps_tables_are_known_by_their_keys() -> None:
    assert drawn({"alert": {"title-loc-key": "HELLO", "loc-key": "TEXT"}}).title == "‹HELLO›"
    assert drawn({"alert": {"title": {"loc-key": "HELLO"}}}, "liveactivity").title == "‹HELLO›"


@pytest.mark.parametrize(
    "aps", [{}, {"alert": {}}, {"alert": ""}, {"alert": 5}, [], None, {"content-available": 1}]
)
def test_nothing_is_seen_without_an_alert(aps: Any) -> None:
    seen = drawn(aps)
    assert not seen.seen
    assert seen.notes


def test_every_push_type_is_drawn_or_explained() -> None:
    for name in PUSH_TYPES:
        seen = drawn({"alert": "B"}, name)
        assert seen.seen or seen.notes


def test_an_image_needs_the_extension() -> None:
    data = {"media-url": "https://example.com/a.png"}
    assert drawn({"alert": "B", "mutable-content": 1}, data=data).has_image
    assert not drawn({"alert": "B"}, data=data).has_image


def test_half_a_character_can_be_shown() -> None:
    drawn({"alert": "\ud800"}).body.encode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda of: (
        st.lists(of, max_size=2) | st.dictionaries(st.sampled_from(["alert", "title", "badge", "aps"]), of)
    ),
    max_leaves=8,
)


@CALM
@given(st.dictionaries(st.sampled_from(["aps", "data"]), _JSON), st.sampled_from(list(PUSH_TYPES)))
def test_what_is_wrong_still_is_drawn_somehow(payload: dict[str, Any], push_type: str) -> None:
    picture(payload, push_type, "Notes")


# --- the bar ---


@CALM
@given(st.dictionaries(st.sampled_from([*Outcome, "pending", "skipped"]), st.integers(0, 10**7)))
def test_the_bar_is_full_and_shows_all_there_is(counts: dict[str, int]) -> None:
    segments = bar(counts)
    assert {part.name for part in segments} == {
        name for name, count in counts.items() if count and name != "skipped"
    }
    assert sum(part.width for part in segments) == (WIDTH if segments else 0)
    at = 0
    for part in segments:
        assert part.start == at
        assert part.width > 0
        at += part.width


def test_the_most_frequent_reason_comes_first() -> None:
    assert [reason.name for reason in reasons({"Shutdown": 1, "Unregistered": 7, "": 3})] == [
        "Unregistered",
        "Shutdown",
    ]


# --- the time line ---


def trace(attempt: int = 0, **changes: Any) -> dict[str, Any]:
    answer = {"fate": "answered", "status": 200, "reason": "", "timestamp_ms": None, "apns_unique_id": None}
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
        "answer": {**answer, **changes.pop("answer", {})},
        "verdict": "delivered",
        "accepted_at": "2026-03-01T12:00:00Z",
        "sent_at": "2026-03-01T12:00:01Z",
        "answered_at": "2026-03-01T12:00:01.250Z",
        **changes,
    }


def test_a_delivery_in_its_moments() -> None:
    [line] = time_lines([trace()])
    accepted, sent, answered = line.moments
    assert "accepted" in accepted.title
    assert ("apns-id", "1-2-3") in sent.details
    assert (answered.tone, answered.text) == ("good", "After 250 ms.")


def test_a_retry_waits_and_comes_again() -> None:
    busy = {"status": 503, "reason": "ServiceUnavailable"}
    [line] = time_lines([trace(0, answer=busy, verdict="retry"), trace(1)])
    assert [moment.tone for moment in line.moments] == ["", "", "wait", "", "good"]
    assert "503 ServiceUnavailable" in line.moments[2].title


def test_what_is_played_says_so_and_costs_no_token() -> None:
    gone = {"status": 410, "reason": "Unregistered"}
    [line] = time_lines(
        [trace(answer=gone, verdict="retire_unregistered", simulated=True, failure_domain="unregistered")]
    )
    assert "played" in line.moments[1].title
    assert "stays" in line.moments[2].text


def test_side_by_side_copies_have_a_line_each() -> None:
    other = trace(route={"customer": "c_1", "device": "d_1", "alongside": "B"})
    assert [line.alongside for line in time_lines([trace(), other])] == ["", "B"]
