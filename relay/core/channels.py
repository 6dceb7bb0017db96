"""Broadcast channels: one push updates a Live Activity for everybody.

Apple's channels belong to one bundle identifier in one environment, and each copy of an app may have its own. So one
of ours is as many of Apple's as its copies need: one is made when the first copy with that bundle identifier asks.
Source: Apple's "Setting up broadcast push notifications", and what it refers to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from relay.core.accounts import Environment
from relay.core.delivery.sending import Answer, Credential
from relay.core.errors import Fault, Invalid
from relay.core.ids import PushId, TokenId
from relay.core.push import payload as payloads
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.headers import check_headers
from relay.core.push.push_types import LIVE_ACTIVITY, PushType
from relay.core.push.request import Lifetimes, SendBody

BROADCAST_LIMIT_BYTES = 5120
"""Bytes of a payload (Apple, "Sending broadcast push notification requests to APNs")."""
_TYPE = PushType(LIVE_ACTIVITY.name, limit_bytes=BROADCAST_LIMIT_BYTES, priorities=LIVE_ACTIVITY.priorities)
MESSAGE_STORED_FOR = timedelta(hours=8)
"""How long a channel that stores keeps its most recent message, at most (the same)."""


class ChannelSendBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a push to a channel."""

    payload: Any
    priority: int | None = None
    expiration: int | None = None
    ttl: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ChannelPush:
    """A checked push to a channel. `headers.expiration` is never None: Apple requires it."""

    push_id: PushId
    token_id: TokenId
    created_at: datetime
    expires_at: datetime
    headers: PushHeaders
    payload: bytes


class CheckedChannelPush(NamedTuple):
    """What of a push the body decides, and what its author may want to know."""

    headers: PushHeaders
    expires_at: datetime
    payload: bytes
    warnings: tuple[Fault, ...]


def check_channel_push(
    body: ChannelSendBody, *, message_storage: bool, now: datetime, lifetimes: Lifetimes
) -> CheckedChannelPush:
    """Check a push to a channel that stores messages or not. Raises Invalid with a fault for each thing wrong."""
    faults: list[Fault] = []
    try:
        checked = payloads.check_payload(body.payload, _TYPE)
    except Invalid as error:
        faults.extend(error.faults)
    if _event(body.payload) == "start":
        detail = "A push to a channel updates or ends; what starts a Live Activity goes to device tokens."
        faults.append(Fault("not_allowed", "/payload/aps/event", detail))
    if not message_storage:
        faults.extend(
            Fault("not_allowed", f"/{name}", "The channel stores nothing: only 0 is allowed.")
            for name in ("expiration", "ttl")
            if getattr(body, name)
        )
    if body.expiration is None and body.ttl is None:
        body = msgspec.structs.replace(
            body, ttl=int(MESSAGE_STORED_FOR.total_seconds()) if message_storage else 0
        )
    wanted = SendBody(
        app_id="",
        payload=None,
        destinations=None,
        push_type=_TYPE.name,
        priority=body.priority,
        expiration=body.expiration,
        ttl=body.ttl,
    )
    try:
        _, headers, expires_at = check_headers(wanted, now, lifetimes)
    except Invalid as error:
        faults.extend(error.faults)
    if faults:
        raise Invalid("Nothing was sent.", faults)
    return CheckedChannelPush(headers, expires_at, checked.encoded, checked.warnings)


def _event(payload: Any) -> Any:
    aps = payload.get("aps") if isinstance(payload, dict) else None
    return aps.get("event") if isinstance(aps, dict) else None


class ChannelTopic(NamedTuple):
    """What a channel at Apple belongs to, and the team that can reach it."""

    team_id: str
    environment: Environment
    bundle_id: str


class CreatedChannel(NamedTuple):
    """Apple's answer to the wish for a channel; `apns_channel_id` is "" unless its status is 201."""

    answer: Answer
    apns_channel_id: str = ""


class ChannelProvider(Protocol):
    """The door to Apple's channels. Nothing here raises for what Apple or the network does."""

    async def create(
        self, credential: Credential, bundle_id: str, *, message_storage: bool
    ) -> CreatedChannel:
        """Make a channel."""

    async def delete(self, credential: Credential, bundle_id: str, apns_channel_id: str) -> Answer:
        """Delete a channel: 204, or 400 ChannelNotRegistered if there is none."""

    async def broadcast(
        self,
        credential: Credential,
        bundle_id: str,
        apns_channel_id: str,
        push_id: UUID,
        headers: PushHeaders,
        payload: bytes,
    ) -> Answer:
        """Push to a channel: 200."""


class ChannelOpener(Protocol):
    """Finds Apple's channel for a copy, seen from the API."""

    async def open(self, app_id: str, channel_id: UUID, topic: ChannelTopic) -> str | None:
        """The identifier of Apple's channel for that topic, which is made if it is missing.

        None if the app has no such channel. Raises Unavailable, and Conflict if Apple refuses to make one.
        """
