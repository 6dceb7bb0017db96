"""Simulated device with one copy of an app: it registers like a real device, and returns what it receives."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from apns_standin.client import ControlClient
from apns_standin.registry import Environment
from sdk_stub.client import BundleInfo, ServicesClient

_POLL_SECONDS = 30.0
"""How long one request to the stand-in waits for notifications."""


@dataclass(frozen=True, slots=True)
class ReceivedNotification:
    """A received notification. `index` counts from 1, `time_ms` is epoch ms, `headers` are those of APNs."""

    index: int
    time_ms: int
    headers: dict[str, str]
    payload: dict[str, Any]


class SimulatedDevice:
    """A copy of an app on a device, with device tokens of the APNs stand-in behind `control`.

    As an async context manager it closes its services client.

    Args:
        device_token: the device token (hex) of an earlier run, or None.
        environment: the APNs environment of the copy. None: the one that the store names, or production.
    """

    def __init__(
        self,
        relay_url: str,
        bundle_info: BundleInfo,
        control: ControlClient,
        *,
        session: aiohttp.ClientSession | None = None,
        device_token: str | None = None,
        environment: Environment | None = None,
    ) -> None:
        self.services = ServicesClient(relay_url, bundle_info, session, operating_system=self)
        self.device_token = device_token
        self._control = control
        self._environment = environment
        self._other_tokens: dict[str, str] = {}
        """Device tokens of other kinds than "apns", by kind."""
        self._last_index: Counter[str] = Counter()
        """The index of the last notification that was read, by kind of device token."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.services.close()

    async def launch(self) -> None:
        """Register for push notifications through the SDK, as an app does when it starts."""
        await self.services.register_push_notifications()

    async def register_for_remote_notifications(self) -> bytes:
        """Return the device token of this copy: iOS returns an equal token at every launch."""
        if self.device_token is None:
            self.device_token = await self._issue("apns")
        return bytes.fromhex(self.device_token)

    async def register(self, kind: str) -> str:
        """Get a device token of another kind (of PushKit, ActivityKit or WidgetKit), assign it and return it (hex).

        `kind` is for example "voip", "liveactivity-start" or "liveactivity:game-4711". Every call gets a new token,
        which replaces the former token of that kind.
        """
        self._other_tokens[kind] = token = await self._issue(kind)
        self._last_index[kind] = 0
        await self.services.assign_push_token(bytes.fromhex(token), kind=kind)
        return token

    async def withdraw(self, kind: str) -> None:
        """Withdraw the token of that kind from the relay, for example because its Live Activity has ended."""
        await self.services.unregister_push_notifications(kind=kind)
        self._other_tokens.pop(kind, None)

    async def delete_app(self) -> None:
        """Delete the app as a user does: APNs is informed, the relay is not."""
        for token in (self.device_token, *self._other_tokens.values()):
            if token is not None:
                await self._control.unregister(token)
        self.device_token = None
        self._other_tokens.clear()

    async def receive(self, wait: float, kind: str = "apns") -> list[ReceivedNotification]:
        """Return what arrived at the token of that kind since the last call; wait up to `wait` (≤ 60) s for it."""
        token = self.device_token if kind == "apns" else self._other_tokens.get(kind)
        if token is None:
            return []
        documents = await self._control.notifications(token, self._last_index[kind], wait)
        received = [
            ReceivedNotification(
                document["index"], document["time"], document["headers"], document["payload"]
            )
            for document in documents
        ]
        if received:
            self._last_index[kind] = received[-1].index
        return received

    async def _issue(self, kind: str) -> str:
        identity = await self.services.identity()
        environment = self._environment or _environment(identity.environment)
        return await self._control.issue_device_token(identity.bundle_id, identity.team_id, environment, kind)

    async def notifications(self) -> AsyncIterator[ReceivedNotification]:
        """Yield every notification as it arrives, until the app is deleted. Requires a device that was launched."""
        while self.device_token is not None:
            for notification in await self.receive(_POLL_SECONDS):
                yield notification


def _environment(name: str | None) -> Environment:
    return "sandbox" if name == "sandbox" else "production"
