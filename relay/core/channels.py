"""Broadcast channels: one push updates a Live Activity on all devices that subscribed.

A channel at Apple belongs to one bundle identifier in one environment, and installations of an app may differ in both.
So a channel of the relay stands for several channels at Apple: one is created when the first installation with its
bundle identifier asks. Source: Apple, "Setting up broadcast push notifications" and the pages it refers to.
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
from relay.core.ids import AppId, PushId, TokenId
from relay.core.push import payload as payloads
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.headers import check_headers
from relay.core.push.push_types import LIVE_ACTIVITY, PushType
from relay.core.push.request import Lifetimes, SendBody

BROADCAST_LIMIT_BYTES = 5120
"""The limit of a payload (Apple, "Sending broadcast push notification requests to APNs")."""
_TYPE = PushType(LIVE_ACTIVITY.name, limit_bytes=BROADCAST_LIMIT_BYTES, priorities=LIVE_ACTIVITY.priorities)
MESSAGE_STORED_FOR = timedelta(hours=8)
"""The longest time that a channel with message storage keeps its most recent message (from that page too)."""


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
    """The parts of a channel push that its body decides, and warnings for its author."""

    headers: PushHeaders
    expires_at: datetime
    payload: bytes
    warnings: tuple[Fault, ...]


def check_channel_push(
    body: ChannelSendBody, *, message_storage: bool, now: datetime, lifetimes: Lifetimes
) -> CheckedChannelPush:
    """Check a push to a channel with or without message storage. Raises Invalid with a fault for each mistake."""
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
    send_body = SendBody(
        app_id=AppId(""),
        payload=None,
        destinations=None,
        push_type=_TYPE.name,
        priority=body.priority,
        expiration=body.expiration,
        ttl=body.ttl,
    )
    try:
        _, headers, expires_at = check_headers(send_body, now, lifetimes)
    except Invalid as error:
        faults.extend(error.faults)
    if faults:
        raise Invalid("Nothing was sent.", faults)
    return CheckedChannelPush(headers, expires_at, checked.encoded, checked.warnings)


def _event(payload: Any) -> Any:
    aps = payload.get("aps") if isinstance(payload, dict) else None
    return aps.get("event") if isinstance(aps, dict) else None


class ChannelTopic(NamedTuple):
    """The owner of a channel at Apple: bundle identifier and environment, and the team that can reach it."""

    team_id: str
    environment: Environment
    bundle_id: str


class CreatedChannel(NamedTuple):
    """The answer of Apple to the creation of a channel; `apns_channel_id` is "" unless the status is 201."""

    answer: Answer
    apns_channel_id: str = ""


class ChannelProvider(Protocol):
    """The port to channels at Apple. No method raises for an answer of Apple or a failure of the network."""

    async def create(
        self, credential: Credential, bundle_id: str, *, message_storage: bool
    ) -> CreatedChannel:
        """Create a channel."""

    async def delete(self, credential: Credential, bundle_id: str, apns_channel_id: str) -> Answer:
        """Delete a channel. The answer is 204, or 400 ChannelNotRegistered if there is none."""

    async def broadcast(
        self,
        credential: Credential,
        bundle_id: str,
        apns_channel_id: str,
        push_id: PushId,
        headers: PushHeaders,
        payload: bytes,
    ) -> Answer:
        """Push to a channel. The answer is 200 on success."""


class ChannelOpener(Protocol):
    """The port through which the API finds the channel at Apple for an installation."""

    async def open_channel(self, app_id: AppId, channel_id: UUID, topic: ChannelTopic) -> str | None:
        """Return the id of the channel at Apple for `topic`; create the channel if it is missing.

        Returns None if the app has no such channel.

        Raises:
            Unavailable: Apple cannot be asked now.
            Conflict: Apple refuses to create the channel.
        """
