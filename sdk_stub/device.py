"""A simulated device with one copy of an app: it registers like a real one, and shows what it receives."""

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

_LONGEST_WAIT = 30.0
"""Seconds one question to the stand-in stays open."""


@dataclass(frozen=True, slots=True)
class ReceivedNotification:
    """What arrived: `index` counts from 1, `time_ms` is epoch milliseconds, `headers` are APNs'."""

    index: int
    time_ms: int
    headers: dict[str, str]
    payload: dict[str, Any]


class SimulatedDevice:
    """One copy of an app on a device. Its device token comes from the APNs stand-in behind `control`.

    `device_token` (hex) is that of an earlier run, if there was one. `environment` is where the copy is known
    to APNs; by default what the store says, or production. An async context manager: it closes its services
    client.
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
        self._others: dict[str, str] = {}
        """Device tokens of other kinds than "apns", by kind."""
        self._seen: Counter[str] = Counter()
        """The last notification that was read, by kind of device token."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.services.close()

    async def launch(self) -> None:
        """What an app does when it starts: register for push notifications through the SDK."""
        await self.services.register_push_notifications()

    async def register_for_remote_notifications(self) -> bytes:
        """iOS's part: the device token of this copy, the same one at every launch."""
        if self.device_token is None:
            self.device_token = await self._issue("apns")
        return bytes.fromhex(self.device_token)

    async def register(self, kind: str) -> str:
        """Get a device token of another kind, as PushKit, ActivityKit or WidgetKit gives it, and assign it.

        `kind` is one that `ServicesClient.assign_push_token` takes, for example "voip", "liveactivity-start" or
        "liveactivity:game-4711". Returns the token (hex): a new one at every call, in place of the former.
        """
        self._others[kind] = token = await self._issue(kind)
        self._seen[kind] = 0
        await self.services.assign_push_token(bytes.fromhex(token), kind=kind)
        return token

    async def withdraw(self, kind: str) -> None:
        """Have the relay forget the token of that kind, for example because its Live Activity has ended."""
        await self.services.unregister_push_notifications(kind=kind)
        self._others.pop(kind, None)

    async def delete_app(self) -> None:
        """The user deletes the app: APNs learns of it, the relay does not."""
        for token in (self.device_token, *self._others.values()):
            if token is not None:
                await self._control.unregister(token)
        self.device_token = None
        self._others.clear()

    async def receive(self, wait: float, kind: str = "apns") -> list[ReceivedNotification]:
        """What arrived at the token of that kind since the last call; waits up to `wait` s (≤ 60) for the first."""
        token = self.device_token if kind == "apns" else self._others.get(kind)
        if token is None:
            return []
        documents = await self._control.notifications(token, self._seen[kind], wait)
        received = [
            ReceivedNotification(one["index"], one["time"], one["headers"], one["payload"])
            for one in documents
        ]
        if received:
            self._seen[kind] = received[-1].index
        return received

    async def _issue(self, kind: str) -> str:
        identity = await self.services.identity()
        environment = self._environment or _environment(identity.environment)
        return await self._control.issue_device_token(identity.bundle_id, identity.team_id, environment, kind)

    async def notifications(self) -> AsyncIterator[ReceivedNotification]:
        """Every notification as it arrives, without end. The device must have been launched."""
        while self.device_token is not None:
            for notification in await self.receive(_LONGEST_WAIT):
                yield notification


def _environment(name: str | None) -> Environment:
    return "sandbox" if name == "sandbox" else "production"
