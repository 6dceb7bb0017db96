"""The checks of the fields that become request headers, and of how long a push is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay.core.errors import Fault, Invalid
from relay.core.push.headers import check_headers, check_token_kind
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import Lifetimes, SendBody

NOW = datetime(2026, 1, 1, 12, 0, 0, 500_000, UTC)
EPOCH = int(NOW.timestamp())
LIFETIMES = Lifetimes(keep_seconds=86_400, immediate_seconds=10)
TYPES = ", ".join(PUSH_TYPES)


def body(**fields: Any) -> SendBody:
    return SendBody(app_id="app", destinations={}, **{"payload": {"aps": {}}, **fields})


@pytest.mark.parametrize(
    ("fields", "push_type", "priority", "expiration", "kept"),
    [
        ({}, "alert", 10, None, timedelta(days=1)),
        ({"payload": {"aps": {"content-available": 1}}}, "background", 5, None, timedelta(days=1)),
        ({"payload": "no object"}, "alert", 10, None, timedelta(days=1)),
        ({"push_type": "voip"}, "voip", 10, 0, timedelta(seconds=10)),
        ({"priority": 1}, "alert", 1, None, timedelta(days=1)),
        ({"ttl": 0}, "alert", 10, 0, timedelta(seconds=10)),
        ({"ttl": 60}, "alert", 10, EPOCH + 61, timedelta(seconds=60.5)),
        ({"ttl": 31_536_000}, "alert", 10, EPOCH + 31_536_001, timedelta(days=1)),
        ({"expiration": 0}, "alert", 10, 0, timedelta(seconds=10)),
        ({"expiration": EPOCH + 1}, "alert", 10, EPOCH + 1, timedelta(seconds=0.5)),
        ({"expiration": 2**32 - 1}, "alert", 10, 2**32 - 1, timedelta(days=1)),
        ({"notification": {"title": "x"}}, "alert", 10, None, timedelta(days=1)),
        ({"notification": {}, "push_type": "alert"}, "alert", 10, None, timedelta(days=1)),
    ],
)
def test_headers_follow_from_the_body(
    fields: dict[str, Any], push_type: str, priority: int, expiration: int | None, kept: timedelta
) -> None:
    chosen, headers, expires_at = check_headers(body(**fields), NOW, LIFETIMES)
    assert (chosen.name, headers.push_type, headers.priority) == (push_type, push_type, priority)
    assert (headers.expiration, headers.collapse_id) == (expiration, None)
    assert expires_at - NOW == kept


@pytest.mark.parametrize("collapse_id", ["a", "x" * 64, "ä" * 32, "two words"])
def test_a_collapse_id_becomes_a_header(collapse_id: str) -> None:
    assert check_headers(body(collapse_id=collapse_id), NOW, LIFETIMES)[1].collapse_id == collapse_id


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"priority": 7}, Fault("invalid_value", "/priority", "alert allows priority 10, 5, 1.")),
        (
            {"push_type": "background", "priority": 10},
            Fault("invalid_value", "/priority", "background allows priority 5, 1."),
        ),
        ({"push_type": "no"}, Fault("invalid_value", "/push_type", f"The push types are {TYPES}.")),
        (
            {"notification": {}, "push_type": "voip"},
            Fault(
                "not_allowed", "/push_type", "A notification is of the type alert; others need a `payload`."
            ),
        ),
        (
            {"ttl": 5, "expiration": EPOCH + 5},
            Fault("not_allowed", "/ttl", "Give either `ttl` or `expiration`."),
        ),
        ({"ttl": -1}, Fault("invalid_value", "/ttl", "`ttl` is seconds, from 0 to one year.")),
        ({"ttl": 31_536_001}, Fault("invalid_value", "/ttl", "`ttl` is seconds, from 0 to one year.")),
        ({"expiration": -1}, Fault("invalid_value", "/expiration", "`expiration` is epoch seconds, or 0.")),
        (
            {"expiration": 2**32},
            Fault("invalid_value", "/expiration", "`expiration` is epoch seconds, or 0."),
        ),
        (
            {"expiration": EPOCH},
            Fault("invalid_value", "/expiration", "`expiration` (epoch seconds) is in the past."),
        ),
        (
            {"expiration": 1},
            Fault("invalid_value", "/expiration", "`expiration` (epoch seconds) is in the past."),
        ),
        (
            {"push_type": "voip", "ttl": 31},
            Fault("invalid_value", "/ttl", "A push of the type voip is kept for 30 seconds at most."),
        ),
        (
            {"push_type": "pushtotalk", "ttl": 1},
            Fault(
                "invalid_value",
                "/ttl",
                "A push of the type pushtotalk is kept not at all: only 0 is allowed.",
            ),
        ),
        *(
            (
                {"collapse_id": text},
                Fault("invalid_value", "/collapse_id", "`collapse_id` has 1 to 64 bytes of UTF-8."),
            )
            for text in ("", "x" * 65, "ä" * 33, "\ud800")
        ),
        *(
            (
                {"collapse_id": text},
                Fault(
                    "invalid_value",
                    "/collapse_id",
                    "`collapse_id` becomes a header: no control characters, no space at either end.",
                ),
            )
            for text in ("a\nb", " a", "a ", "\x7f")
        ),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], fault: Fault) -> None:
    with pytest.raises(Invalid) as refused:
        check_headers(body(**fields), NOW, LIFETIMES)
    assert refused.value.faults == (fault,)


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        check_headers(body(push_type="no", priority=7, ttl=-1, collapse_id=""), NOW, LIFETIMES)
    pointers = [fault.pointer for fault in refused.value.faults]
    assert pointers == ["/push_type", "/priority", "/ttl", "/collapse_id"]


def test_a_push_type_that_does_not_exist_gets_no_further_faults_from_its_stand_in() -> None:
    assert check_token_kind(body(push_type="no", activity="x")) == "apns"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"push_type": "alert", "activity": "x"},
            Fault("not_allowed", "/activity", "Only a push of the type liveactivity belongs to an activity."),
        ),
        (
            {"push_type": "liveactivity", "activity": "a b"},
            Fault(
                "invalid_value",
                "/activity",
                "`activity` is what follows `liveactivity:` in the kind of a device token.",
            ),
        ),
        (
            {"push_type": "liveactivity", "activity": "x", "payload": {"aps": {"event": "start"}}},
            Fault(
                "not_allowed",
                "/activity",
                "An activity that has yet to start has no device token; leave `activity` out.",
            ),
        ),
    ],
)
def test_an_activity_that_names_no_device_token_is_refused(fields: dict[str, Any], fault: Fault) -> None:
    with pytest.raises(Invalid) as refused:
        check_token_kind(body(**fields))
    assert refused.value.faults == (fault,)


def test_an_expiration_of_this_second_is_in_the_past() -> None:
    now = datetime.fromtimestamp(EPOCH, UTC)
    assert check_headers(body(expiration=EPOCH + 1), now, LIFETIMES)[2] == now + timedelta(seconds=1)
    with pytest.raises(Invalid, match="not valid"):
        check_headers(body(expiration=EPOCH), now, LIFETIMES)
