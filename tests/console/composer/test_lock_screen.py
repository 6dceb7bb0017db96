"""The lock screen of a payload, valid or not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.console.composer.lock_screen import LockScreen, draw_lock_screen
from relay.core.push.push_types import PUSH_TYPES

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a busy machine a single example may take long."""
IMAGE = {"media-url": "https://example.com/a.png"}


def draw(aps: Any, push_type: str = "alert", **other: Any) -> LockScreen:
    return draw_lock_screen({"aps": aps, **other}, push_type, "Notes")


def test_texts_and_badge() -> None:
    screen = draw({"alert": {"title": "T", "subtitle": "S", "body": "B"}, "badge": 3})
    assert (screen.title, screen.subtitle, screen.body, screen.badge) == ("T", "S", "B", 3)


@pytest.mark.parametrize(
    ("push_type", "alert", "title"),
    [
        ("alert", "B", "Notes"),
        ("alert", {"title-loc-key": "HELLO", "loc-key": "TEXT"}, "‹HELLO›"),
        ("liveactivity", {"title": {"loc-key": "HELLO"}}, "‹HELLO›"),
    ],
    ids=["the app's name", "a key of the app's tables", "a key of a Live Activity"],
)
def test_the_title_without_a_text_of_its_own(push_type: str, alert: Any, title: str) -> None:
    assert draw({"alert": alert}, push_type).title == title


@pytest.mark.parametrize(
    "aps", [{}, {"alert": {}}, {"alert": ""}, {"alert": 5}, [], None, {"content-available": 1}]
)
def test_nothing_is_visible_without_an_alert(aps: Any) -> None:
    screen = draw(aps)
    assert not screen.is_visible
    assert screen.notes


@pytest.mark.parametrize("push_type", list(PUSH_TYPES))
def test_every_push_type_is_drawn_or_explained(push_type: str) -> None:
    screen = draw({"alert": "B"}, push_type)
    assert screen.is_visible or screen.notes


@pytest.mark.parametrize(
    ("aps", "note"),
    [
        ({"interruption-level": "passive"}, "silently"),
        ({"interruption-level": "time-sensitive"}, "Focus"),
        ({"interruption-level": "critical"}, "muted"),
        ({"mutable-content": 1}, "may change it"),
        ({"badge": 0}, "is removed"),
        ({}, "no sound"),
    ],
)
def test_notes_explain_the_payload(aps: dict[str, Any], note: str) -> None:
    assert any(note in text for text in draw({"alert": "B", **aps}).notes)


@pytest.mark.parametrize(
    ("body", "is_cut"),
    [("a\nb\nc\nd", False), ("a\nb\nc\nd\ne", True), ("x" * 160, False), ("x" * 161, True)],
    ids=["four lines", "five lines", "four full lines", "a character more"],
)
def test_a_note_on_long_bodies(body: str, is_cut: bool) -> None:
    assert any("cut" in note for note in draw({"alert": body}).notes) == is_cut


def test_an_image_needs_the_notification_extension() -> None:
    assert draw({"alert": "B", "mutable-content": 1}, data=IMAGE).has_image
    assert not draw({"alert": "B"}, data=IMAGE).has_image


def test_half_of_a_surrogate_pair_can_be_shown() -> None:
    draw({"alert": "\ud800"}).body.encode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: (
        st.lists(values, max_size=2)
        | st.dictionaries(st.sampled_from(["alert", "title", "badge", "aps"]), values)
    ),
    max_leaves=8,
)


@UNTIMED
@given(st.dictionaries(st.sampled_from(["aps", "data"]), _JSON), st.sampled_from(list(PUSH_TYPES)))
def test_invalid_payloads_are_drawn(payload: dict[str, Any], push_type: str) -> None:
    draw_lock_screen(payload, push_type, "Notes")
