"""Broadcast channels as Apple keeps them: a provider creates one for one topic and environment, until it is deleted.

Source: Apple's "Sending channel management requests to APNs". A channel's identifier is random bytes in base64; Apple
promises no size.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from .errors import NotFoundError
from .inbox import Inbox
from .registry import Environment

_ID_BYTES: Final = 16
_MAX_ID_CHARACTERS: Final = 128
"""Apple has a limit for the length of an identifier and does not document it. [ours]"""


class StandInChannel(msgspec.Struct, frozen=True):
    """A channel. With `message_storage` the most recent message is kept for devices that are offline."""

    channel_id: str
    bundle_id: str
    environment: Environment
    message_storage: bool


class StandInChannels:
    """All channels. `inbox` holds what each received, by channel identifier.

    `max_channels` is the limit of one app in one environment. `on_change` is called after every change.
    """

    def __init__(
        self,
        random_bytes: Callable[[int], bytes],
        inbox: Inbox,
        on_change: Callable[[], None],
        max_channels: int,
    ) -> None:
        self.inbox = inbox
        self._random_bytes = random_bytes
        self._on_change = on_change
        self._max_channels = max_channels
        self._channels: dict[str, StandInChannel] = {}

    def create(self, environment: Environment, bundle_id: str, message_storage: bool) -> StandInChannel:
        """Create and return a channel."""
        channel_id = base64.b64encode(self._random_bytes(_ID_BYTES)).decode()
        channel = self._channels[channel_id] = StandInChannel(
            channel_id, bundle_id, environment, message_storage
        )
        self._on_change()
        return channel

    def find(self, environment: Environment, bundle_id: str, channel_id: str) -> StandInChannel | None:
        """Return the channel if it belongs to that app and environment, else None."""
        channel = self._channels.get(channel_id)
        if channel is None or (channel.environment, channel.bundle_id) != (environment, bundle_id):
            return None
        return channel

    def require(self, channel_id: str) -> StandInChannel:
        """Return the channel with that identifier. Raises NotFoundError."""
        channel = self._channels.get(channel_id)
        if channel is None:
            raise NotFoundError("there is no such channel")
        return channel

    def delete(self, channel_id: str) -> None:
        """Delete a channel. Raises NotFoundError."""
        self.require(channel_id)
        del self._channels[channel_id]
        self._on_change()

    def of_app(self, environment: Environment, bundle_id: str) -> list[StandInChannel]:
        """Return the channels of an app in an environment, oldest first."""
        return [
            channel
            for channel in self._channels.values()
            if (channel.environment, channel.bundle_id) == (environment, bundle_id)
        ]

    def is_full(self, environment: Environment, bundle_id: str) -> bool:
        """Return True if the app has reached its limit of channels in that environment."""
        return len(self.of_app(environment, bundle_id)) >= self._max_channels

    def all(self) -> list[StandInChannel]:
        """Return all channels, oldest first."""
        return list(self._channels.values())

    def restore(self, channels: Iterable[StandInChannel]) -> None:
        """Replace all channels."""
        self._channels = {channel.channel_id: channel for channel in channels}


def is_channel_id(text: str) -> bool:
    """Return True if `text` has the form of an identifier: base64, and not too long."""
    try:
        return 0 < len(text) <= _MAX_ID_CHARACTERS and bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
