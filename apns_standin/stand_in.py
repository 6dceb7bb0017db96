"""The APNs stand-in as one object: two APNs listeners, two that manage channels, the control API, and their state.

For example::

    async with ApnsStandIn(ca_file=Path("ca.pem")) as apns:
        key = apns.issue_key("TEAM000001")
        device = apns.issue_device_token("com.example.app", "TEAM000001", "production")
        ...  # push to apns.production_url
        [received] = await apns.notifications(device.token, wait=5)
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypedDict

import msgspec

from . import state_file as state_files
from .answers import Answers, Fault, ScriptedAnswer
from .certificates import Authority
from .channel_service import Broadcasts, Management
from .channels import MOST_CHANNELS, StandInChannels
from .control import ControlServer
from .faults import Answering, Faults, ListenerFault
from .inbox import Inbox, Notification
from .limits import StandInLimits
from .listener import Listener
from .receipts import Receipts
from .registry import ENVIRONMENTS, Environment, IssuedKey, StandInDevice, StandInRegistry
from .service import Service
from .statistics import Statistics, StatisticsDocument

MAX_WAIT_SECONDS = 60.0


class _Judging(TypedDict):
    """What everybody needs who judges requests."""

    clock: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    token_update_seconds: float


class ApnsStandIn:
    """Plays Apple's push service on this machine. An async context manager, to be used once.

    Args:
        host: address to listen on.
        production_port, sandbox_port, control_port: 0 takes any free port. production_channels_port,
        sandbox_channels_port: the same, where broadcast channels are managed.
        fallback_to_free_port: take a free port where the one asked for is taken.
        state_file: keeps authority, keys, topics, device tokens and channels over a restart; None keeps nothing.
        ca_file: where to write the certificate clients must trust (PEM).
        clock: epoch seconds.
        random_bytes: makes device tokens, key identifiers and UUIDs.
        limits: what a client may take, e.g. `StandInLimits(initial_streams=1)` for Apple's cautious beginning.
        token_update_seconds: the least time between two provider tokens of a key on a connection; 0 allows
        any. kept_per_token, kept_total: how many received notifications are kept, per device token and
        altogether. kept_receipts: of how many apns-ids it is known how often they were accepted.
        most_channels: how many an app may have in one environment.
        grace_seconds: how long open streams may take at the end.
        chance: decides which requests a fault strikes that has a share.

    Attributes:
        listeners: by environment; their `connections` can be disturbed. management: the same for channels.
        service: its `interceptors` may answer in place of APNs.
        receipts: what was accepted, by apns-id, as far as `kept_receipts` goes.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        production_port: int = 0,
        sandbox_port: int = 0,
        production_channels_port: int = 0,
        sandbox_channels_port: int = 0,
        control_port: int = 0,
        fallback_to_free_port: bool = False,
        state_file: Path | None = None,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        limits: StandInLimits | None = None,
        token_update_seconds: float = 20 * 60,
        kept_per_token: int = 1000,
        kept_total: int = 50_000,
        kept_receipts: int = 0,
        most_channels: int = MOST_CHANNELS,
        grace_seconds: float = 1.0,
        chance: random.Random | None = None,
    ) -> None:
        self.host = host
        self.ca_file = ca_file
        self._ports: dict[Environment, tuple[int, int]] = {
            "production": (production_port, production_channels_port),
            "sandbox": (sandbox_port, sandbox_channels_port),
        }
        self._control_port = control_port
        self._fallback = fallback_to_free_port
        self._grace_seconds = grace_seconds
        self._state_path = state_file
        self._state_file: state_files.StateFile | None = None
        self._registry = StandInRegistry(clock, random_bytes, self._changed)
        self._channels = StandInChannels(
            random_bytes, Inbox(kept_per_token, kept_total), self._changed, most_channels
        )
        self._authority = self._restore(state_file)
        self._inbox = Inbox(kept_per_token, kept_total)
        self._answers = Answers()
        self._statistics = Statistics()
        self.receipts = Receipts(kept_receipts)
        chance = chance or random.Random()  # noqa: S311  nothing here is a secret
        judging: _Judging = {
            "clock": clock,
            "random_bytes": random_bytes,
            "token_update_seconds": token_update_seconds,
        }
        desk = self._registry, self._channels, self._statistics
        self.service = Service(
            self._registry,
            self._inbox,
            self._answers,
            self._statistics,
            self.receipts,
            Broadcasts(*desk, **judging),
            **judging,
        )

        def listeners(answering: Answering) -> dict[Environment, Listener]:
            return {
                environment: Listener(
                    environment, Faults(answering, chance, clock), self._statistics, limits or StandInLimits()
                )
                for environment in ENVIRONMENTS
            }

        self.listeners = listeners(self.service)
        self.management = listeners(Management(*desk, **judging))
        self._control = ControlServer(self)

    # -- life --

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Write the CA file, listen on all ports. Raises OSError for a port that is taken, StateFileError."""
        if self._state_path is not None:
            self._state_file = state_files.StateFile(self._state_path, self._state)
            self._state_file.changed()
        try:
            if self.ca_file is not None:
                state_files.write_file(self.ca_file, self.ca_pem.encode(), 0o644)
            for environment, ports in self._ports.items():
                both = self.listeners[environment], self.management[environment]
                for listener, port in zip(both, ports, strict=True):
                    context = self._authority.server_context()
                    await listener.start(self.host, port, context, fallback=self._fallback)
            await self._control.start(self.host, self._control_port, fallback=self._fallback)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """GOAWAY to every client, let open streams finish for `grace_seconds`, write the state, close."""
        self._inbox.close()
        self._channels.inbox.close()
        await self._control.stop()
        for listener in (*self.listeners.values(), *self.management.values()):
            await listener.stop(self._grace_seconds)
        if self._state_file is not None:
            await self._state_file.flush()
            self._state_file = None

    # -- where it is --

    @property
    def production_url(self) -> str:
        """What plays api.push.apple.com."""
        return f"https://{self._url_host}:{self.listeners['production'].port}"

    @property
    def sandbox_url(self) -> str:
        """What plays api.sandbox.push.apple.com."""
        return f"https://{self._url_host}:{self.listeners['sandbox'].port}"

    def channels_url(self, environment: Environment) -> str:
        """What plays api-manage-broadcast.push.apple.com, or its sandbox."""
        return f"https://{self._url_host}:{self.management[environment].port}"

    @property
    def control_url(self) -> str:
        """The control API."""
        return f"http://{self._url_host}:{self._control.port}"

    @property
    def ca_pem(self) -> str:
        """The certificate clients must trust."""
        return self._authority.pem

    @property
    def _url_host(self) -> str:
        # The certificate names the loopback only, and a wildcard is no address to connect to.
        if self.host in ("", "0.0.0.0", "::"):  # noqa: S104
            return "localhost"
        return f"[{self.host}]" if ":" in self.host else self.host

    # -- the developer portal --

    def issue_key(self, team_id: str, environment: Environment | None = None) -> IssuedKey:
        """A new signing key of a team, for one environment or both. Raises InvalidError."""
        return self._registry.issue_key(team_id, environment)

    def revoke_key(self, team_id: str, key_id: str) -> None:
        """Make a key invalid. Raises NotFoundError."""
        self._registry.revoke_key(team_id, key_id)

    def issue_certificate(self, team_id: str, bundle_id: str, environment: Environment | None = None) -> str:
        """A push certificate with its key, one PEM text. Raises InvalidError, ConflictError."""
        self._registry.register_topic(bundle_id, team_id)
        return self._authority.issue_client_certificate(team_id, bundle_id, environment)

    def register_topic(self, bundle_id: str, team_id: str, *, transfer: bool = False) -> None:
        """Make a bundle identifier a team's; `transfer` takes it from another, like Apple's app transfer."""
        self._registry.register_topic(bundle_id, team_id, transfer=transfer)

    # -- devices --

    def issue_device_token(
        self, bundle_id: str, team_id: str, environment: Environment, kind: str = "apns"
    ) -> StandInDevice:
        """A new device token; see `Registry.issue_device_token`. Raises InvalidError, ConflictError."""
        return self._registry.issue_device_token(bundle_id, team_id, environment, kind)

    def unregister(self, device_token: str, timestamp_ms: int | None = None) -> None:
        """The app was removed (at that time, or now): 410 from here on. Raises NotFoundError."""
        self._registry.unregister(device_token, timestamp_ms)

    def devices(self) -> list[dict[str, Any]]:
        """All device tokens as the control API lists them."""
        return [self.describe(device) for device in self._registry.devices()]

    def describe(self, device: StandInDevice) -> dict[str, Any]:
        """A device token as the control API shows it; `count` is of notifications since the start."""
        return {
            "device_token": device.token,
            "bundle_id": device.bundle_id,
            "team_id": self._registry.team_of(device.bundle_id),
            "environment": device.environment,
            "kind": device.kind,
            "count": self._inbox.count(device.token),
            "state": "active" if device.unregistered_ms is None else "unregistered",
            "unregistered_at": device.unregistered_ms,
        }

    async def notifications(
        self, device_token: str, after: int = 0, wait: float = 0.0
    ) -> list[dict[str, Any]]:
        """What a device token received with `index` > `after`, oldest first; waits up to `wait` s.

        Raises NotFoundError.
        """
        device = self._registry.require_device(device_token)
        await self._inbox.wait(device.token, after, min(wait, MAX_WAIT_SECONDS))
        return [notification_document(n) for n in self._inbox.of_token(device.token, after)]

    async def feed(self, after: int = 0, wait: float = 0.0) -> list[dict[str, Any]]:
        """What all device tokens received with feed `index` > `after`, oldest first."""
        await self._inbox.wait(None, after, min(wait, MAX_WAIT_SECONDS))
        return [feed_document(notification) for notification in self._inbox.feed(after)]

    # -- channels --

    def channels(self) -> list[dict[str, Any]]:
        """All broadcast channels; `count` is of pushes since the start."""
        return [
            {**msgspec.to_builtins(channel), "count": self._channels.inbox.count(channel.channel_id)}
            for channel in self._channels.all()
        ]

    async def channel_notifications(
        self, channel_id: str, after: int = 0, wait: float = 0.0
    ) -> list[dict[str, Any]]:
        """What was pushed to a channel, as `notifications` has it. Raises NotFoundError."""
        self._channels.require(channel_id)
        await self._channels.inbox.wait(channel_id, after, min(wait, MAX_WAIT_SECONDS))
        return [notification_document(one) for one in self._channels.inbox.of_token(channel_id, after)]

    def delete_channel(self, channel_id: str) -> None:
        """Delete a channel behind its provider's back. Raises NotFoundError."""
        self._channels.delete(channel_id)

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
        """Prescribe what a device token answers; see `ScriptedAnswer`. Raises NotFoundError, InvalidError."""
        script = ScriptedAnswer(status, reason, timestamp, delay, times, body, fault, code)
        self.script(device_token, script)

    def script(self, device_token: str, script: ScriptedAnswer) -> None:
        """Prescribe what a device token answers. Raises NotFoundError, InvalidError."""
        self._answers.set(self._registry.require_device(device_token).token, script)

    def clear_answer(self, device_token: str) -> None:
        """Let a device token answer as usual again. Raises NotFoundError."""
        self._answers.clear(self._registry.require_device(device_token).token)

    async def set_fault(self, fault: ListenerFault, environment: Environment | None = None) -> None:
        """Switch a fault of a listener of APNs on, in place of an earlier one of its kind; None: of both.

        Those of `management` have the same method.
        """
        for one in ENVIRONMENTS if environment is None else (environment,):
            await self.listeners[one].set_fault(fault)

    async def clear_faults(self, environment: Environment | None = None, kind: str | None = None) -> None:
        """Switch a fault of a listener off, or all of them. Raises OSError if its port is taken meanwhile."""
        for one in ENVIRONMENTS if environment is None else (environment,):
            await self.listeners[one].clear_faults(kind)

    def statistics(self) -> StatisticsDocument:
        """The counters since the start."""
        return self._statistics.document()

    # -- the state file --

    def _changed(self) -> None:
        if self._state_file is not None:
            self._state_file.changed()

    def _state(self) -> state_files.StandInState:
        snapshot, channels = self._registry.snapshot(), self._channels.all()
        return state_files.StandInState(self._authority.pem, self._authority.key_pem, snapshot, channels)

    def _restore(self, path: Path | None) -> Authority:
        state = state_files.load(path) if path is not None else None
        if state is None:
            return Authority()
        self._registry.restore(state.registry)
        self._channels.restore(state.channels)
        return Authority(state.ca_certificate, state.ca_key)


def notification_document(notification: Notification) -> dict[str, Any]:
    """A received notification as JSON shows it; `time` is epoch milliseconds."""
    return {
        "index": notification.index,
        "time": notification.time_ms,
        "apns_id": notification.apns_id,
        "environment": notification.environment,
        "team_id": notification.team_id,
        "key_id": notification.key_id,
        "headers": {_text(name): _text(value) for name, value in notification.headers.items()},
        "payload": msgspec.json.decode(notification.body),
    }


def feed_document(notification: Notification) -> dict[str, Any]:
    """The same for the feed of all: `index` is the feed's, `device_index` the device token's."""
    document = notification_document(notification)
    document["index"] = notification.feed_index
    document["device_index"] = notification.index
    document["device_token"] = notification.device_token
    return document


def _text(value: str) -> str:
    """Without the surrogates that stand for bytes which are not UTF-8: JSON has no place for them."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
