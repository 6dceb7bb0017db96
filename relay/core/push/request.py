"""A send request at the door: from the body of `POST /v1.0/send/` to a frozen value nobody checks again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from relay.core.delivery.sending import PushHeaders
from relay.core.errors import Fault, Invalid, RelayError
from relay.core.idempotency import IdempotencyKey
from relay.core.push import notification as notifications
from relay.core.push import payload as payloads
from relay.core.push.destinations import Name
from relay.core.push.push_types import (
    LIVE_ACTIVITY,
    PUSH_TYPES,
    VOIP_LIMIT,
    PushType,
    default_push_type,
    live_activity_kind,
)

_MAX_COLLAPSE_ID = 64
_MAX_EPOCH = 2**32 - 1
_ACTIVITY = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNKNOWN_TYPE = PushType("this push type", limit=VOIP_LIMIT, needs_aps=False)
"""Stands for a push type that does not exist: what holds for every type can still be checked."""
_encode = msgspec.json.encode


class SendBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body as the PHP sender posts it, and our optional fields; `notification` stands in place of `payload`."""

    app_id: str
    destinations: Any
    payload: Any = UNSET
    notification: Any = UNSET
    push_type: str | None = None
    priority: int | None = None
    expiration: int | None = None
    ttl: int | None = None
    collapse_id: str | None = None
    activity: str | None = None
    debug: bool = False


class Lifetimes(NamedTuple):
    """How long the relay itself keeps trying (seconds): without an expiration, and for expiration 0."""

    keep: float
    immediate: float


@dataclass(slots=True, repr=False)
class PushRequest:
    """A checked request. `customers`, `devices` and `addresses` are a DestinationCheck's."""

    app_id: str
    push_id: UUID
    token_id: UUID
    accepted_at: datetime
    expires_at: datetime
    headers: PushHeaders
    token_kind: str
    payload: bytes
    debug: bool
    customers: Sequence[str]
    devices: Sequence[str]
    addresses: Sequence[bytes] = ()
    """Digests of addresses that customers may have as an alias."""
    places: Mapping[Name, str] | None = None
    """Where a destination is named, as a JSON pointer, unless it is a key of the map `destinations`."""
    everyone: bool = False
    """Every customer of the app, now; then there are no other destinations."""
    warnings: list[Fault] = field(default_factory=list)
    key: IdempotencyKey | None = None
    sent_by: UUID | None = None
    """The publisher by whose console it was sent: that is in the audit log, unlike what a program sends."""


class Accepted(NamedTuple):
    """A push that is durable, and the body of the answer that says so (JSON)."""

    push_id: UUID
    answer: bytes


SubmitResult: TypeAlias = Accepted | RelayError | None
"""What became of a push at the way in. RelayError: it was not stored (Unavailable), or has no recipients (Invalid).

None: its key was used before, so that nothing was stored; what was answered then is durable.
"""


def accepted(push_id: UUID, targets: int | None, skipped: int | None, warnings: Sequence[Fault]) -> Accepted:
    """What is answered for a push: `targets` installations will be tried, `skipped` are on no test-device list.

    Both are None where they are not known yet: a push to everyone is counted while it is cut into batches.
    """
    body = {
        "success": True,
        "push_id": push_id,
        "targets": targets,
        "skipped": skipped,
        "warnings": [warning._asdict() for warning in warnings],
        "errors": [],
    }
    return Accepted(push_id, _encode(body))


class Acceptor(Protocol):
    """The way in: group commit, seen from the API."""

    def submit(self, request: PushRequest, done: Callable[[SubmitResult], None]) -> None:
        """Have a push stored. `done` is called once, later, when it is durable or cannot be.

        Raises Unavailable at once where there is no room; then `done` is not called.
        """

    async def accept(self, request: PushRequest) -> Accepted | None:
        """The same for who can wait: returns when the push is durable, and raises why it is not."""


def check_headers(
    body: SendBody, now: datetime, lifetimes: Lifetimes
) -> tuple[PushType, PushHeaders, datetime]:
    """Push type, request headers and the moment at which the relay stops trying. Raises Invalid."""
    faults: list[Fault] = []
    push_type = _push_type(body, faults)
    priority = body.priority if body.priority is not None else push_type.priorities[0]
    if priority not in push_type.priorities:
        allowed = ", ".join(map(str, push_type.priorities))
        faults.append(Fault("invalid_value", "/priority", f"{push_type.name} allows priority {allowed}."))
    expiration = _expiration(body, push_type, now, faults)
    if body.collapse_id is not None:
        _check_collapse_id(body.collapse_id, faults)
    if faults:
        raise Invalid(faults=faults)
    longest = now + timedelta(seconds=lifetimes.keep)
    expires_at = longest
    if expiration == 0:
        expires_at = now + timedelta(seconds=lifetimes.immediate)
    elif expiration is not None:
        expires_at = min(longest, datetime.fromtimestamp(expiration, now.tzinfo))
    return push_type, PushHeaders(push_type.name, priority, expiration, body.collapse_id), expires_at


def _push_type(body: SendBody, faults: list[Fault]) -> PushType:
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
        if not 0 <= body.ttl <= 31_536_000:
            faults.append(Fault("invalid_value", "/ttl", "`ttl` is seconds, from 0 to one year."))
        else:
            _check_life("/ttl", body.ttl, push_type, faults)
        return math.ceil(now.timestamp()) + body.ttl if body.ttl else 0
    elif body.expiration is not None:
        if not 0 <= body.expiration <= _MAX_EPOCH:
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
    longest = push_type.longest_life
    if longest is not None and seconds > longest:
        kept = f"for {longest} seconds at most" if longest else "not at all: only 0 is allowed"
        faults.append(Fault("invalid_value", pointer, f"A push of the type {push_type.name} is kept {kept}."))


def check_token_kind(body: SendBody) -> str:
    """The kind of device token that the push goes to. Raises Invalid for an `activity` that names none."""
    push_type = _push_type(body, [])
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
    if not 0 < size <= _MAX_COLLAPSE_ID:
        detail = f"`collapse_id` has 1 to {_MAX_COLLAPSE_ID} bytes of UTF-8."
        faults.append(Fault("invalid_value", "/collapse_id", detail))
    elif not collapse_id.isprintable() or collapse_id != collapse_id.strip():
        detail = "`collapse_id` becomes a header: no control characters, no space at either end."
        faults.append(Fault("invalid_value", "/collapse_id", detail))


def draft(body: SendBody) -> tuple[dict[str, Any], PushType]:
    """Payload and push type of a body that is still being written: what of it is right, for a picture of it."""
    if body.notification is not UNSET:
        return notifications.draft(body.notification), notifications.PUSH_TYPE
    return body.payload if isinstance(body.payload, dict) else {}, _push_type(body, [])


def check_payload(body: SendBody) -> payloads.Checked:
    """The payload of the body, or of its notification, checked for its push type and encoded. Raises Invalid."""
    if body.notification is UNSET:
        if body.payload is UNSET:
            detail = "Give either `payload` or `notification`."
            raise Invalid(faults=[Fault("missing_field", "/payload", detail)])
        return payloads.check(body.payload, _push_type(body, []))
    if body.payload is not UNSET:
        detail = "Give either `payload` or `notification`."
        raise Invalid(faults=[Fault("not_allowed", "/notification", detail)])
    return notifications.check(body.notification)
