"""Rows of channels, of channels at Apple, and of pushes to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.channels import ChannelTopic
from relay.core.delivery.outcomes import Outcome
from relay.core.ids import AppId, PushId
from relay.core.push.apns_headers import PushHeaders
from relay.store.push.records import OutcomeCount


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of an app. `bundle_ids` is the number of channels at Apple that it stands for."""

    app_id: str
    channel_id: UUID
    message_storage: bool
    created_at: datetime
    bundle_ids: int = 0


class InstallationChannel(NamedTuple):
    """A channel as an installation sees it. `apns_channel_id` is None while Apple has none for its bundle id."""

    message_storage: bool
    apns_channel_id: str | None


@dataclass(frozen=True, slots=True)
class AppleChannel:
    """A channel at Apple. `attempt` counts the failed attempts to delete it."""

    app_id: str
    channel_id: UUID
    topic: ChannelTopic
    apns_channel_id: str
    attempt: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class ChannelDelivery:
    """A push to one channel at Apple, under a lease of this node. `attempt` counts from 0."""

    channel: AppleChannel
    push_id: PushId
    attempt: int
    expires_at: datetime
    headers: PushHeaders
    payload: bytes


@dataclass(frozen=True, slots=True)
class SettledChannelDelivery:
    """The result of a delivery: an `outcome`, or None for a retry at `due_at`."""

    delivery: ChannelDelivery
    attempt: int
    due_at: datetime | None
    outcome: Outcome | None
    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChannelPush:
    """A push to a channel as it was accepted. `targets` is the number of channels at Apple that it goes to."""

    app_id: AppId
    channel_id: UUID
    push_id: PushId
    created_at: datetime
    expires_at: datetime
    priority: int
    expiration: int
    targets: int


class ChannelPushReport(NamedTuple):
    """A push to a channel, and the counts of its deliveries that have ended."""

    push: StoredChannelPush
    outcomes: Sequence[OutcomeCount]
