"""A copy asks for a channel: Apple's is looked up, or made."""

from __future__ import annotations

import asyncio
from uuid import UUID

from relay.core.channels import ChannelProvider, ChannelTopic
from relay.core.clock import Clock
from relay.core.delivery.reasons import ReasonAction, decide
from relay.core.errors import Conflict, RelayError, Unavailable
from relay.dispatch.credential_cache import CredentialCache
from relay.store.channels.apple_channels import AppleChannelRepository
from relay.store.database import Database

_NO_CREDENTIAL_PAUSE = 60
_PAUSE = 5
"""Seconds after which a copy may ask again: without a credential that works, and after a passing fault."""

_Key = tuple[str, UUID, ChannelTopic]


class ChannelCreator:
    """Implements `relay.core.channels.ChannelOpener`.

    Copies that ask for the same one at the same time wait for one request to Apple. Other nodes may make another
    meanwhile: the first that is stored holds, and the others are deleted at Apple again.
    """

    def __init__(
        self, database: Database, credentials: CredentialCache, provider: ChannelProvider, clock: Clock
    ) -> None:
        self._channels = AppleChannelRepository(database)
        self._credentials = credentials
        self._provider = provider
        self._clock = clock
        self._opening: dict[_Key, asyncio.Task[str | None]] = {}

    async def open_channel(self, app_id: str, channel_id: UUID, topic: ChannelTopic) -> str | None:
        """The identifier of Apple's channel for that topic. None if the app has no such channel.

        Raises Unavailable, and Conflict if Apple refuses to make one.
        """
        found = await self._channels.find_channel_for_installation(app_id, channel_id, topic)
        if found is None or found.apns_channel_id is not None:
            return found and found.apns_channel_id
        key = app_id, channel_id, topic
        task = self._opening.get(key)
        if task is None:
            task = asyncio.create_task(self._make(key, message_storage=found.message_storage))
            self._opening[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        # Whoever goes away takes nothing from the others.
        await asyncio.wait([task])
        return task.result()

    def _ended(self, key: _Key, task: asyncio.Task[str | None]) -> None:
        del self._opening[key]
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more

    async def _make(self, key: _Key, *, message_storage: bool) -> str | None:
        app_id, channel_id, topic = key
        credentials = await self._credentials.look_up([(topic.team_id, topic.environment)])
        credential = credentials.choose(*topic).credential
        if credential is None:
            detail = "The store has no credential that works for this copy's team."
            raise Unavailable(detail, retry_after=_NO_CREDENTIAL_PAUSE)
        sent_at = self._clock.now()
        created = await self._provider.create(credential, topic.bundle_id, message_storage=message_storage)
        if created.answer.status != 201:
            action = decide(created.answer)
            if action is ReasonAction.SUSPEND:
                await self._credentials.suspend(credential, created.answer.reason, sent_at)
            if action is ReasonAction.FAIL:
                raise Conflict(
                    f"Apple makes no channel for this copy: {created.answer.reason or 'no reason'}."
                )
            raise Unavailable("Apple makes no channel now.", retry_after=_PAUSE)
        try:
            return await self._channels.store_apple_channel(
                app_id, channel_id, topic, created.apns_channel_id, self._clock.now()
            )
        except RelayError:
            # Nobody would ever know of it.
            await self._provider.delete(credential, topic.bundle_id, created.apns_channel_id)
            raise
