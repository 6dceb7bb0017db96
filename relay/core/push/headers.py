"""Checks of the fields of a send request that become request headers at APNs, and of the push type they depend on."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

from msgspec import UNSET

from relay.core.errors import Fault, Invalid
from relay.core.push import notification as notifications
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.push_types import (
    LIVE_ACTIVITY,
    PUSH_TYPES,
    VOIP_LIMIT_BYTES,
    PushType,
    default_push_type,
    live_activity_kind,
)
from relay.core.push.request import Lifetimes, SendBody

_MAX_COLLAPSE_ID_BYTES = 64
_MAX_EPOCH_SECONDS = 2**32 - 1
_YEAR_SECONDS = 365 * 24 * 3600
_ACTIVITY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNKNOWN_TYPE = PushType("this push type", limit_bytes=VOIP_LIMIT_BYTES, needs_aps=False)
"""The stand-in for a push type that does not exist: rules that hold for every type can still be checked."""


def check_headers(
    body: SendBody, now: datetime, lifetimes: Lifetimes
) -> tuple[PushType, PushHeaders, datetime]:
    """Return push type, request headers and the moment at which the relay stops retrying. Raises Invalid."""
    faults: list[Fault] = []
    push_type = choose_push_type(body, faults)
    priority = body.priority if body.priority is not None else push_type.priorities[0]
    if priority not in push_type.priorities:
        allowed = ", ".join(map(str, push_type.priorities))
        faults.append(Fault("invalid_value", "/priority", f"{push_type.name} allows priority {allowed}."))
    expiration = _expiration(body, push_type, now, faults)
    if body.collapse_id is not None:
        _check_collapse_id(body.collapse_id, faults)
    if faults:
        raise Invalid(faults=faults)
    longest = now + timedelta(seconds=lifetimes.keep_seconds)
    expires_at = longest
    if expiration == 0:
        expires_at = now + timedelta(seconds=lifetimes.immediate_seconds)
    elif expiration is not None:
        expires_at = min(longest, datetime.fromtimestamp(expiration, now.tzinfo))
    return push_type, PushHeaders(push_type.name, priority, expiration, body.collapse_id), expires_at


def choose_push_type(body: SendBody, faults: list[Fault]) -> PushType:
    """Return the push type that the body names or implies. Mistakes are appended to `faults`."""
    if body.notification is not UNSET:
        if body.push_type not in (None, notifications.PUSH_TYPE.name):
            detail = f"A notification is of the type {notifications.PUSH_TYPE.name}; others need a `payload`."
            faults.append(Fault("not_allowed", "/push_type", detail))
        return notifications.PUSH_TYPE
    if body.push_type is None:
        return default_push_type(body.payload if isinstance(body.payload, dict) else {})
    known = PUSH_TYPES.get(body.push_type)
    if known is None:
        faults.append(Fault("invalid_value", "/push_type", f"The push types are {', '.join(PUSH_TYPES)}."))
        return _UNKNOWN_TYPE
    return known


def _expiration(body: SendBody, push_type: PushType, now: datetime, faults: list[Fault]) -> int | None:
    if body.ttl is not None and body.expiration is not None:
        faults.append(Fault("not_allowed", "/ttl", "Give either `ttl` or `expiration`."))
    elif body.ttl is not None:
        if not 0 <= body.ttl <= _YEAR_SECONDS:
            faults.append(Fault("invalid_value", "/ttl", "`ttl` is seconds, from 0 to one year."))
        else:
            _check_life("/ttl", body.ttl, push_type, faults)
        return math.ceil(now.timestamp()) + body.ttl if body.ttl else 0
    elif body.expiration is not None:
        if not 0 <= body.expiration <= _MAX_EPOCH_SECONDS:
            faults.append(Fault("invalid_value", "/expiration", "`expiration` is epoch seconds, or 0."))
        elif 0 < body.expiration <= now.timestamp():
            faults.append(
                Fault("invalid_value", "/expiration", "`expiration` (epoch seconds) is in the past.")
            )
        else:
            life = body.expiration - now.timestamp() if body.expiration else 0.0
            _check_life("/expiration", life, push_type, faults)
        return body.expiration
    return push_type.default_expiration


def _check_life(pointer: str, seconds: float, push_type: PushType, faults: list[Fault]) -> None:
    longest = push_type.longest_life_seconds
    if longest is not None and seconds > longest:
        kept = f"for {longest} seconds at most" if longest else "not at all: only 0 is allowed"
        faults.append(Fault("invalid_value", pointer, f"A push of the type {push_type.name} is kept {kept}."))


def check_token_kind(body: SendBody) -> str:
    """Return the kind of device token that the push goes to. Raises Invalid for a wrong `activity`."""
    push_type = choose_push_type(body, [])
    activity = body.activity
    if push_type is not LIVE_ACTIVITY:
        if activity is not None and push_type is not _UNKNOWN_TYPE:
            detail = f"Only a push of the type {LIVE_ACTIVITY.name} belongs to an activity."
            raise Invalid(faults=[Fault("not_allowed", "/activity", detail)])
        return push_type.token_kind
    if activity is not None and _ACTIVITY.fullmatch(activity) is None:
        detail = "`activity` is what follows `liveactivity:` in the kind of a device token."
        raise Invalid(faults=[Fault("invalid_value", "/activity", detail)])
    aps = body.payload.get("aps") if isinstance(body.payload, dict) else None
    event = aps.get("event") if isinstance(aps, dict) else None
    if event == "start" and activity is not None:
        detail = "An activity that has yet to start has no device token; leave `activity` out."
        raise Invalid(faults=[Fault("not_allowed", "/activity", detail)])
    return live_activity_kind(event, activity)


def _check_collapse_id(collapse_id: str, faults: list[Fault]) -> None:
    try:
        size = len(collapse_id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_COLLAPSE_ID_BYTES:
        detail = f"`collapse_id` has 1 to {_MAX_COLLAPSE_ID_BYTES} bytes of UTF-8."
        faults.append(Fault("invalid_value", "/collapse_id", detail))
    elif not collapse_id.isprintable() or collapse_id != collapse_id.strip():
        detail = "`collapse_id` becomes a header: no control characters, no space at either end."
        faults.append(Fault("invalid_value", "/collapse_id", detail))
