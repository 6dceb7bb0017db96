"""Broadcast channels, as Apple keeps them: made by a provider, one topic and one environment each, until deleted.

Sources: Apple's "Sending channel management requests to APNs". A channel's identifier is random bytes in base64, whose
size nobody should rely on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable

import msgspec

from .errors import NotFoundError
from .inbox import Inbox
from .registry import Environment

MOST_CHANNELS = 10_000
"""Channels of one app in one environment."""
_ID_BYTES = 16
_LONGEST_ID = 128
"""Characters of an identifier. Apple says that there is a limit, and not which. [ours]"""


class StandInChannel(msgspec.Struct, frozen=True):
    """A channel. `message_storage`: the most recent message is kept for devices that are not online."""

    channel_id: str
    bundle_id: str
    environment: Environment
    message_storage: bool


class StandInChannels:
    """All channels. `inbox` has what each received, by its identifier; `on_change` is called after every change."""

    def __init__(
        self,
        random_bytes: Callable[[int], bytes],
        inbox: Inbox,
        on_change: Callable[[], None] = lambda: None,
        most: int = MOST_CHANNELS,
    ) -> None:
        self.inbox = inbox
        self._random_bytes = random_bytes
        self._on_change = on_change
        self._most = most
        self._channels: dict[str, StandInChannel] = {}

    def create(self, environment: Environment, bundle_id: str, message_storage: bool) -> StandInChannel:
        """A new channel."""
        channel_id = base64.b64encode(self._random_bytes(_ID_BYTES)).decode()
        channel = self._channels[channel_id] = StandInChannel(
            channel_id, bundle_id, environment, message_storage
        )
        self._on_change()
        return channel

    def find(self, environment: Environment, bundle_id: str, channel_id: str) -> StandInChannel | None:
        """That channel of that app in that environment."""
        channel = self._channels.get(channel_id)
        if channel is None or (channel.environment, channel.bundle_id) != (environment, bundle_id):
            return None
        return channel

    def require(self, channel_id: str) -> StandInChannel:
        """The channel with that identifier. Raises NotFoundError."""
        channel = self._channels.get(channel_id)
        if channel is None:
            raise NotFoundError("there is no such channel")
        return channel

    def delete(self, channel_id: str) -> None:
        """Delete a channel for good. Raises NotFoundError."""
        self.require(channel_id)
        del self._channels[channel_id]
        self._on_change()

    def of_app(self, environment: Environment, bundle_id: str) -> list[StandInChannel]:
        """The channels of an app in an environment, oldest first."""
        wanted = (environment, bundle_id)
        return [one for one in self._channels.values() if (one.environment, one.bundle_id) == wanted]

    def is_full(self, environment: Environment, bundle_id: str) -> bool:
        """Whether the app has as many channels there as it may have."""
        return len(self.of_app(environment, bundle_id)) >= self._most

    def all(self) -> list[StandInChannel]:
        """All channels, oldest first: also what the state file keeps."""
        return list(self._channels.values())

    def restore(self, channels: Iterable[StandInChannel]) -> None:
        """Replace all channels by these."""
        self._channels = {channel.channel_id: channel for channel in channels}


def is_channel_id(text: str) -> bool:
    """Whether it has the form of an identifier: base64, and not too long."""
    try:
        return 0 < len(text) <= _LONGEST_ID and bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
