"""Operations of a stand-in: the developer portal, the devices, the channels and the faults.

Tests call them on `ApnsStandIn`, other processes through the control API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from .answers import Answers, Fault, ScriptedAnswer
from .certificates import Authority
from .channels import StandInChannels
from .documents import device_document, feed_document, notification_document
from .faults import ListenerFault
from .inbox import Inbox
from .listener import Listener
from .receipts import Receipts
from .registry import ENVIRONMENTS, Environment, IssuedKey, StandInDevice, StandInRegistry
from .statistics import Statistics, StatisticsDocument

MAX_WAIT_SECONDS: Final = 60.0
"""Longest time that a reader waits for a notification."""


@dataclass(frozen=True, slots=True)
class StandInState:
    """Everything that a stand-in knows and has received."""

    registry: StandInRegistry
    channels: StandInChannels
    authority: Authority
    inbox: Inbox
    answers: Answers
    receipts: Receipts
    statistics: Statistics


class StandInOperations:
    """Operations on a stand-in's state and listeners.

    Attributes:
        listeners: the listeners for pushes, by environment. Their `connections` can be disturbed.
        management: the listeners for channel management, by environment.
        receipts: counts of accepted pushes by apns-id, if `RetentionLimits.receipts` asks for them.
    """

    def __init__(
        self,
        state: StandInState,
        listeners: dict[Environment, Listener],
        management: dict[Environment, Listener],
    ) -> None:
        self.listeners = listeners
        self.management = management
        self.receipts = state.receipts
        self._state = state

    # -- the developer portal --

    def issue_key(self, team_id: str, environment: Environment | None = None) -> IssuedKey:
        """Return a new signing key of a team, for one environment or (None) both. Raises InvalidError."""
        return self._state.registry.issue_key(team_id, environment)

    def revoke_key(self, team_id: str, key_id: str) -> None:
        """Make a key invalid. Raises NotFoundError."""
        self._state.registry.revoke_key(team_id, key_id)

    def issue_certificate(self, team_id: str, bundle_id: str, environment: Environment | None = None) -> str:
        """Return a push certificate and its key as one PEM text. Raises InvalidError, ConflictError."""
        self._state.registry.register_topic(bundle_id, team_id)
        return self._state.authority.issue_client_certificate(team_id, bundle_id, environment)

    def register_topic(self, bundle_id: str, team_id: str, *, transfer: bool = False) -> None:
        """Assign a bundle identifier to a team; `transfer` takes it from another team (Apple's app transfer).

        Raises InvalidError, ConflictError.
        """
        self._state.registry.register_topic(bundle_id, team_id, transfer=transfer)

    # -- devices --

    def issue_device_token(
        self, bundle_id: str, team_id: str, environment: Environment, kind: str = "apns"
    ) -> StandInDevice:
        """Return a new device token; see `StandInRegistry.issue_device_token`. Raises InvalidError, ConflictError."""
        return self._state.registry.issue_device_token(bundle_id, team_id, environment, kind)

    def unregister(self, device_token: str, timestamp_ms: int | None = None) -> None:
        """Mark the app as removed at `timestamp_ms` (None: now): pushes get 410 from now on. Raises NotFoundError."""
        self._state.registry.unregister(device_token, timestamp_ms)

    def devices(self) -> list[dict[str, Any]]:
        """Return all device tokens as the control API lists them, oldest first."""
        return [self.describe_device(device) for device in self._state.registry.devices()]

    def describe_device(self, device: StandInDevice) -> dict[str, Any]:
        """Return a device token as the control API lists it."""
        team_id = self._state.registry.team_of(device.bundle_id)
        return device_document(device, team_id, self._state.inbox.count(device.token))

    async def notifications(
        self, device_token: str, after: int = 0, wait: float = 0.0
    ) -> list[dict[str, Any]]:
        """Return what a device token received with `index` > `after`, oldest first.

        Without such a notification, wait up to `wait` seconds for one. Raises NotFoundError.
        """
        token, inbox = self._state.registry.require_device(device_token).token, self._state.inbox
        await inbox.wait(token, after, min(wait, MAX_WAIT_SECONDS))
        return [notification_document(notification) for notification in inbox.of_token(token, after)]

    async def feed(self, after: int = 0, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return what all device tokens received with feed `index` > `after`, oldest first; wait as above."""
        await self._state.inbox.wait(None, after, min(wait, MAX_WAIT_SECONDS))
        return [feed_document(notification) for notification in self._state.inbox.feed(after)]

    # -- channels --

    def channels(self) -> list[dict[str, Any]]:
        """Return all broadcast channels; `count` is the number of pushes since the start."""
        channels = self._state.channels
        return [
            {**msgspec.to_builtins(channel), "count": channels.inbox.count(channel.channel_id)}
            for channel in channels.all()
        ]

    async def channel_notifications(
        self, channel_id: str, after: int = 0, wait: float = 0.0
    ) -> list[dict[str, Any]]:
        """Return what was pushed to a channel, with the arguments of `notifications`. Raises NotFoundError."""
        self._state.channels.require(channel_id)
        inbox = self._state.channels.inbox
        await inbox.wait(channel_id, after, min(wait, MAX_WAIT_SECONDS))
        return [notification_document(notification) for notification in inbox.of_token(channel_id, after)]

    def delete_channel(self, channel_id: str) -> None:
        """Delete a channel without a request of its provider. Raises NotFoundError."""
        self._state.channels.delete(channel_id)

    # -- misbehaviour --

    def answer(
        self,
        device_token: str,
        status: int | None = None,
        reason: str | None = None,
        *,
        timestamp: int | None = None,
        delay: float = 0.0,
        times: int | None = None,
        body: str | None = None,
        fault: Fault = "none",
        code: int = 2,
    ) -> None:
        """Prescribe what a device token answers, in the fields of `ScriptedAnswer`.

        Raises NotFoundError, InvalidError.
        """
        script = ScriptedAnswer(status, reason, timestamp, delay, times, body, fault, code)
        self.script(device_token, script)

    def script(self, device_token: str, script: ScriptedAnswer) -> None:
        """Prescribe what a device token answers. Raises NotFoundError, InvalidError."""
        self._state.answers.set(self._state.registry.require_device(device_token).token, script)

    def clear_answer(self, device_token: str) -> None:
        """Remove the prescribed answer of a device token. Raises NotFoundError."""
        self._state.answers.clear(self._state.registry.require_device(device_token).token)

    async def set_fault(self, fault: ListenerFault, environment: Environment | None = None) -> None:
        """Switch a fault on at the listener for pushes of `environment` (None: both environments).

        It replaces an earlier fault of its kind. The listeners in `management` have this method too.
        """
        for name in ENVIRONMENTS if environment is None else (environment,):
            await self.listeners[name].set_fault(fault)

    async def clear_faults(self, environment: Environment | None = None, kind: str | None = None) -> None:
        """Switch the fault of that kind off, or (None) all faults. Raises OSError if the listener's port is taken."""
        for name in ENVIRONMENTS if environment is None else (environment,):
            await self.listeners[name].clear_faults(kind)

    def statistics(self) -> StatisticsDocument:
        """Return the counters since the start."""
        return self._state.statistics.document()
