"""Broadcast channels, and pushes to them, as publishers manage them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import msgspec

from relay.core.channels import ChannelPush, ChannelSendBody, check_channel_push
from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, Forbidden, NotFound
from relay.core.ids import PushId, new_uuid7
from relay.core.push.request import Lifetimes
from relay.core.schema import AppIdText
from relay.service.app_access import AppAccess
from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.channels.channel_pushes import ChannelPushRepository
from relay.store.channels.channels import MAX_CHANNELS_PER_APP, ChannelRepository
from relay.store.channels.records import Channel, ChannelPushReport
from relay.store.database import Database
from relay.telemetry import counts

_NO_SUBSCRIBERS = Fault("unreachable", "", "No copy of the app has asked for this channel.")


class ChannelBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a new channel."""

    app_id: AppIdText
    message_storage: bool = False


class StoredChannelSend(NamedTuple):
    """A durable push to a channel. Each channel at Apple counts as one target."""

    push_id: PushId
    targets: int
    warnings: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class ChannelQueue:
    """The limits of the queue of deliveries to channels, and the signal of new ones.

    `max_waiting` limits the deliveries of one app in the queue. `on_work` is called when there is something to do.
    """

    lifetimes: Lifetimes
    max_waiting: int
    on_work: Callable[[], None]


class ChannelService:
    """Creation, look-up and deletion of channels, and pushes to them.

    A push token is for the channels of its app, a manage token for those of its publisher.
    """

    def __init__(self, database: Database, queue: ChannelQueue, clock: Clock, random: Random) -> None:
        self._channels = ChannelRepository(database)
        self._pushes = ChannelPushRepository(database)
        self._app_access = AppAccess(database)
        self._queue = queue
        self._clock = clock
        self._random = random

    async def create_channel(self, body: ChannelBody, token: PushToken | ManageToken) -> Channel:
        """Store a channel. There is none at Apple before a copy of the app asks for it.

        Raises:
            NotFound: `token` is not for the app.
            Conflict: the app has as many channels as it may have.
        """
        if body.app_id not in await self._app_access.list_app_ids(token):
            raise NotFound("There is no such app.")
        now = self._clock.now()
        channel = Channel(body.app_id, new_uuid7(now, self._random), body.message_storage, now)
        if not await self._channels.create_channel(channel, token.publisher_id, token.actor):
            detail = f"The app has {MAX_CHANNELS_PER_APP} channels. Delete those of events that are over."
            raise Conflict(faults=[Fault("too_many", "/app_id", detail)])
        return channel

    async def list_channels(
        self, token: PushToken | ManageToken, after: UUID | None, limit: int
    ) -> list[Channel]:
        """Return up to `limit` channels that follow `after`, oldest first."""
        return await self._channels.list_channels(await self._app_access.list_app_ids(token), after, limit)

    async def find_channel(self, channel_id: UUID, token: PushToken | ManageToken) -> Channel:
        """Return a channel.

        Raises:
            NotFound: there is none with that id, or `token` is not for its app.
        """
        channel = await self._channels.find_channel(await self._app_access.list_app_ids(token), channel_id)
        if channel is None:
            raise no_channel()
        return channel

    async def delete_channel(self, channel_id: UUID, token: PushToken | ManageToken) -> None:
        """Delete a channel. Its channels at Apple are deleted in the background.

        Raises:
            NotFound: there is none with that id, or `token` is not for its app.
        """
        channel = await self.find_channel(channel_id, token)
        now = self._clock.now()
        if not await self._channels.delete_channel(
            channel.app_id, channel.channel_id, token.publisher_id, now, token.actor
        ):
            raise no_channel()
        self._queue.on_work()

    async def send_to_channel(
        self, channel: Channel, body: ChannelSendBody, token: PushToken
    ) -> StoredChannelSend:
        """Check a push to `channel` and store it. Returns once it is durable.

        Raises:
            Invalid: `body` is not a valid push.
            NotFound: the channel was deleted meanwhile.
            Unavailable: too many deliveries of the app wait, or the database is away.
        """
        now = self._clock.now()
        checked = check_channel_push(
            body, message_storage=channel.message_storage, now=now, lifetimes=self._queue.lifetimes
        )
        push = ChannelPush(
            PushId(new_uuid7(now, self._random)),
            token.token_id,
            now,
            checked.expires_at,
            checked.headers,
            checked.payload,
        )
        targets = await self._pushes.store_channel_push(
            channel.app_id, channel.channel_id, push, self._queue.max_waiting
        )
        if targets is None:
            raise no_channel()
        counts.accepted(1, "channel")
        if not targets:
            return StoredChannelSend(push.push_id, targets, (*checked.warnings, _NO_SUBSCRIBERS))
        self._queue.on_work()
        return StoredChannelSend(push.push_id, targets, checked.warnings)

    async def find_channel_push(
        self, channel_id: UUID, push_id: UUID, token: PushToken | ManageToken
    ) -> ChannelPushReport:
        """Return a push to a channel, with its outcomes.

        Raises:
            NotFound: there is no such push, or `token` is not for its app.
        """
        app_ids = await self._app_access.list_app_ids(token)
        report = await self._pushes.find_channel_push(app_ids, channel_id, push_id)
        if report is None:
            raise NotFound("There is no such push.")
        return report


def check_may_send_to_channels(token: PushToken) -> None:
    """Check that `token` may send to channels at all.

    Raises:
        Forbidden: it reaches test devices only.
    """
    if token.test_only:
        raise Forbidden("This token reaches listed test devices only, and a channel has none of its own.")


def no_channel() -> NotFound:
    """Return the error for a channel that does not exist, or not for the caller."""
    return NotFound("There is no such channel.")
