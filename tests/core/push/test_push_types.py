"""The push types: the kind of device token of each, and the longest life of a push."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import Invalid
from relay.core.push.headers import check_headers, check_token_kind
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import Lifetimes, SendBody
from relay.core.schema import token_kind_in_query

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


def body(payload: Any = None, **fields: Any) -> SendBody:
    return SendBody(app_id="app", payload=payload or {"aps": {}}, destinations={}, **fields)


def faults(check: Callable[[], object]) -> list[str]:
    """The pointers of what is wrong."""
    try:
        check()
    except Invalid as error:
        return [fault.pointer for fault in error.faults]
    return []


@pytest.mark.parametrize("push_type", PUSH_TYPES)
def test_a_push_type_has_its_kind(push_type: str) -> None:
    kind = check_token_kind(body(push_type=push_type))
    assert kind == PUSH_TYPES[push_type].token_kind
    assert token_kind_in_query(kind) == kind, "the SDK can register it"


@pytest.mark.parametrize(
    ("event", "activity", "kind"),
    [
        ("start", None, "liveactivity-start"),
        ("update", None, "liveactivity"),
        ("end", None, "liveactivity"),
        ("update", "game-1", "liveactivity:game-1"),
        ("end", "A.b_c-9", "liveactivity:A.b_c-9"),
        (["start"], "x", "liveactivity:x"),
    ],
)
def test_the_event_of_a_live_activity_chooses_the_kind(event: Any, activity: str | None, kind: str) -> None:
    payload = {"aps": {"event": event}}
    assert check_token_kind(body(payload, push_type="liveactivity", activity=activity)) == kind
    assert token_kind_in_query(kind) == kind


@given(st.text(max_size=70))
def test_an_activity_is_what_the_sdk_can_register(activity: str) -> None:
    request = body(push_type="liveactivity", activity=activity)
    if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", activity) is None:
        assert faults(lambda: check_token_kind(request)) == ["/activity"]
    else:
        assert token_kind_in_query(check_token_kind(request)) == f"liveactivity:{activity}"


@pytest.mark.parametrize("payload", [[], None, "x", {"aps": []}, {"aps": None}])
def test_a_wrong_payload_does_not_stop_the_check_of_the_kind(payload: Any) -> None:
    assert (
        check_token_kind(SendBody(app_id="app", payload=payload, destinations={}, push_type="liveactivity"))
        == "liveactivity"
    )


@pytest.mark.parametrize(
    ("push_type", "fields", "wrong"),
    [
        ("voip", {}, []),
        ("voip", {"ttl": 0}, []),
        ("voip", {"ttl": 30}, []),
        ("voip", {"ttl": 31}, ["/ttl"]),
        ("voip", {"expiration": 0}, []),
        ("voip", {"expiration": EPOCH + 30}, []),
        ("voip", {"expiration": EPOCH + 31}, ["/expiration"]),
        ("pushtotalk", {"ttl": 0}, []),
        ("pushtotalk", {"ttl": 1}, ["/ttl"]),
        ("pushtotalk", {"expiration": EPOCH + 1}, ["/expiration"]),
        ("alert", {"ttl": 31_536_000}, []),
    ],
)
def test_calls_are_kept_for_seconds(push_type: str, fields: dict[str, int], wrong: list[str]) -> None:
    request = body(push_type=push_type, **fields)
    assert faults(lambda: check_headers(request, NOW, Lifetimes(86_400, 10))) == wrong


@pytest.mark.parametrize(
    (
        "push_type",
        "suffix",
        "token_kind",
        "limit_bytes",
        "priorities",
        "expiration",
        "life_seconds",
        "needs_aps",
    ),
    [
        ("alert", "", "apns", 4096, (10, 5, 1), None, None, True),
        ("background", "", "apns", 4096, (5, 1), None, None, True),
        ("voip", ".voip", "voip", 5120, (10, 5, 1), 0, 30, False),
        ("complication", ".complication", "complication", 4096, (10, 5, 1), None, None, True),
        ("fileprovider", ".pushkit.fileprovider", "fileprovider", 4096, (10, 5, 1), None, None, False),
        ("mdm", "", "mdm", 4096, (10, 5, 1), None, None, False),
        ("location", ".location-query", "location", 4096, (10, 5, 1), None, None, True),
        ("liveactivity", ".push-type.liveactivity", "liveactivity", 4096, (10, 5), None, None, True),
        ("pushtotalk", ".voip-ptt", "pushtotalk", 4096, (10,), 0, 0, True),
        ("widgets", ".push-type.widgets", "widgets", 4096, (10, 5, 1), None, None, True),
        ("controls", ".push-type.controls", "controls", 4096, (10, 5, 1), None, None, True),
    ],
)
def test_the_rules_of_each_push_type(
    push_type: str,
    suffix: str,
    token_kind: str,
    limit_bytes: int,
    priorities: tuple[int, ...],
    expiration: int | None,
    life_seconds: int | None,
    needs_aps: bool,
) -> None:
    row = PUSH_TYPES[push_type]
    assert (row.name, row.suffix, row.token_kind, row.limit_bytes) == (
        push_type,
        suffix,
        token_kind,
        limit_bytes,
    )
    assert (row.priorities, row.default_expiration) == (priorities, expiration)
    assert (row.longest_life_seconds, row.needs_aps) == (life_seconds, needs_aps)


def test_there_are_eleven_push_types() -> None:
    assert len(PUSH_TYPES) == 11
