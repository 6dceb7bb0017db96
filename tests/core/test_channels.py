"""The check of pushes to broadcast channels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.channels import (
    BROADCAST_LIMIT_BYTES,
    ChannelSendBody,
    CheckedChannelPush,
    CreatedChannel,
    check_channel_push,
)
from relay.core.delivery.sending import DELIVERED
from relay.core.errors import Fault, Invalid
from relay.core.push.request import Lifetimes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = int(NOW.timestamp())
APS: dict[str, Any] = {"timestamp": EPOCH, "event": "update", "content-state": {}}


def check(payload: Any = None, *, message_storage: bool = True, **fields: Any) -> CheckedChannelPush:
    body = ChannelSendBody({"aps": APS} if payload is None else payload, **fields)
    return check_channel_push(body, message_storage=message_storage, now=NOW, lifetimes=Lifetimes(86_400, 10))


def faults(payload: Any = None, *, message_storage: bool = True, **fields: Any) -> list[str]:
    try:
        check(payload, message_storage=message_storage, **fields)
    except Invalid as error:
        return [fault.pointer for fault in error.faults]
    return []


def test_a_stored_message_is_kept_for_eight_hours_and_another_is_tried_once() -> None:
    stored, passing = check(), check(message_storage=False)
    assert stored.headers.expiration == EPOCH + 8 * 3600
    assert stored.expires_at == NOW + timedelta(hours=8)
    assert passing.headers.expiration == 0
    assert passing.expires_at == NOW + timedelta(seconds=10)
    assert (stored.headers.push_type, stored.headers.priority) == ("liveactivity", 10)
    assert check(ttl=60).headers.expiration == EPOCH + 60
    assert check(ttl=0).headers.expiration == check(expiration=0).headers.expiration == 0


@pytest.mark.parametrize(
    ("payload", "fields", "wrong"),
    [
        (None, {"ttl": 5, "message_storage": False}, ["/ttl"]),
        (None, {"expiration": EPOCH + 5, "message_storage": False}, ["/expiration"]),
        (None, {"ttl": 0, "message_storage": False}, []),
        (None, {"priority": 5}, []),
        (None, {"priority": 1}, ["/priority"]),
        (None, {"ttl": -1}, ["/ttl"]),
        (None, {"expiration": EPOCH - 1}, ["/expiration"]),
        ({"aps": {**APS, "event": "start"}}, {}, ["/payload/aps/event"]),
        ({"aps": {"timestamp": 1, "event": "end"}}, {}, []),
        ({"aps": {"alert": "x"}}, {}, ["/payload/aps/timestamp", "/payload/aps/event"]),
        ({"aps": {**APS, "badge": "1"}}, {"priority": 7}, ["/payload/aps/badge", "/priority"]),
        ([], {}, ["/payload"]),
    ],
)
def test_a_mistake_is_named(payload: Any, fields: dict[str, Any], wrong: list[str]) -> None:
    pointers = faults(payload, **fields)
    assert set(wrong) <= set(pointers)
    assert bool(wrong) == bool(pointers)


def test_the_limit_is_exact() -> None:
    assert BROADCAST_LIMIT_BYTES == 5120
    payload = {"aps": APS, "x": ""}
    payload["x"] = "a" * (BROADCAST_LIMIT_BYTES - len(check(payload).payload))
    assert len(check(payload).payload) == BROADCAST_LIMIT_BYTES
    payload["x"] += "a"
    assert faults(payload) == ["/payload"]


@pytest.mark.parametrize(
    ("payload", "fields", "fault"),
    [
        (
            {"aps": {**APS, "event": "start"}},
            {},
            Fault(
                "not_allowed",
                "/payload/aps/event",
                "A push to a channel updates or ends; what starts a Live Activity goes to device tokens.",
            ),
        ),
        (
            None,
            {"ttl": 5, "message_storage": False},
            Fault("not_allowed", "/ttl", "The channel stores nothing: only 0 is allowed."),
        ),
    ],
)
def test_a_fault_says_what_is_not_allowed(payload: Any, fields: dict[str, Any], fault: Fault) -> None:
    with pytest.raises(Invalid) as refused:
        check(payload, **fields)
    assert fault in refused.value.faults
    assert refused.value.detail == "Nothing was sent."


def test_unknown_fields_of_a_body_are_refused() -> None:
    assert msgspec.convert({"payload": {}, "ttl": 1}, ChannelSendBody) == ChannelSendBody({}, ttl=1)
    with pytest.raises(msgspec.ValidationError, match="unknown field `collapse_id`"):
        msgspec.convert({"payload": {}, "collapse_id": "x"}, ChannelSendBody)


def test_apple_has_made_a_channel_only_if_it_names_one() -> None:
    assert CreatedChannel(DELIVERED).apns_channel_id == ""


values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers(), max_size=2)


@given(
    values
    | st.dictionaries(
        st.sampled_from(["aps", "x"]), values | st.dictionaries(st.sampled_from([*APS]), values)
    ),
    st.none() | st.integers(-1, 2**33),
    st.none() | st.integers(-1, 2**33),
    st.booleans(),
)
def test_anything_is_either_refused_with_names_or_sent_as_apple_wants_it(
    payload: Any, expiration: int | None, ttl: int | None, message_storage: bool
) -> None:
    fields = {"expiration": expiration, "ttl": ttl, "message_storage": message_storage}
    pointers = faults(payload, **fields)
    assert all(pointer.startswith(("/payload", "/expiration", "/ttl")) for pointer in pointers)
    if not pointers:
        checked = check(payload, **fields)
        assert checked.headers.expiration is not None
        assert message_storage or checked.headers.expiration == 0
        assert checked.expires_at > NOW
