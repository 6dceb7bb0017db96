"""The APNs stand-in as one object: listeners for pushes and for channel management, the control API, and its state.

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
from typing import Self

from . import state_file as state_files
from .answers import Answers
from .certificates import Authority
from .channel_service import Broadcasts, ChannelManagement
from .channels import StandInChannels
from .control import ControlServer
from .decisions import DecisionTools
from .faults import Answering, Faults
from .inbox import Inbox
from .limits import RetentionLimits, StandInLimits
from .listener import Listener
from .operations import StandInOperations, StandInState
from .ports import ANY_PORTS, StandInPorts
from .provider_tokens import Verifier
from .receipts import Receipts
from .registry import ENVIRONMENTS, Environment, StandInRegistry
from .service import PushService
from .statistics import Statistics


class ApnsStandIn(StandInOperations):
    """Apple's push service on this machine, as an async context manager. An instance runs once.

    Args:
        host: address to listen on.
        ports: ports to listen on; by default any free ones.
        state_file: keeps authority, keys, topics, device tokens and channels over a restart; None keeps nothing.
        ca_file: file to write the certificate (PEM) that clients must trust.
        clock: epoch seconds.
        random_bytes: makes device tokens, key identifiers and UUIDs.
        limits: limits for clients, e.g. `StandInLimits(initial_streams=1)` for Apple's first limit.
        retention: limits for what is kept in memory.
        grace_seconds: time for open streams to finish when the stand-in stops.
        chance: decides which requests a fault with a share strikes.

    Attributes:
        service: the replies to pushes. Its `interceptors` may answer in place of APNs.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        ports: StandInPorts = ANY_PORTS,
        state_file: Path | None = None,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        limits: StandInLimits | None = None,
        retention: RetentionLimits | None = None,
        grace_seconds: float = 1.0,
        chance: random.Random | None = None,
    ) -> None:
        limits, retention = limits or StandInLimits(), retention or RetentionLimits()
        self.host = host
        self.ca_file = ca_file
        self._ports = ports
        self._grace_seconds = grace_seconds
        self._state_path = state_file
        self._state_file: state_files.StateFile | None = None

        registry = StandInRegistry(clock, random_bytes, self._state_changed)
        channel_inbox = Inbox(retention.per_token, retention.total)
        channels = StandInChannels(random_bytes, channel_inbox, self._state_changed, limits.max_channels)
        state = StandInState(
            registry=registry,
            channels=channels,
            authority=_restore(state_file, registry, channels),
            inbox=Inbox(retention.per_token, retention.total),
            answers=Answers(),
            receipts=Receipts(retention.receipts),
            statistics=Statistics(),
        )
        tools = DecisionTools(
            registry=registry,
            statistics=state.statistics,
            verifier=Verifier(registry),
            clock=clock,
            random_bytes=random_bytes,
            token_update_seconds=limits.token_update_seconds,
        )
        self.service = PushService(
            tools, state.inbox, state.answers, state.receipts, Broadcasts(tools, channels)
        )
        chance = chance or random.Random()  # noqa: S311  nothing here is a secret

        def listeners(answering: Answering) -> dict[Environment, Listener]:
            return {
                environment: Listener(environment, Faults(answering, chance, clock), state.statistics, limits)
                for environment in ENVIRONMENTS
            }

        super().__init__(state, listeners(self.service), listeners(ChannelManagement(tools, channels)))
        self._control = ControlServer(self)

    # -- life --

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Write the CA file and listen on all ports. Raises OSError for a port that is taken, StateFileError."""
        if self._state_path is not None:
            self._state_file = state_files.StateFile(self._state_path, self._stored_state)
            self._state_file.mark_changed()
        ports, fallback = self._ports, self._ports.fallback_to_free_port
        try:
            if self.ca_file is not None:
                state_files.write_file(self.ca_file, self.ca_pem.encode(), 0o644)
            for listener, port in (
                (self.listeners["production"], ports.production),
                (self.management["production"], ports.production_channels),
                (self.listeners["sandbox"], ports.sandbox),
                (self.management["sandbox"], ports.sandbox_channels),
            ):
                context = self._state.authority.server_context()
                await listener.start(self.host, port, context, fallback=fallback)
            await self._control.start(self.host, ports.control, fallback=fallback)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Send GOAWAY to all clients, give open streams `grace_seconds` to finish, write the state, and close."""
        self._state.inbox.close()
        self._state.channels.inbox.close()
        await self._control.stop()
        for listener in (*self.listeners.values(), *self.management.values()):
            await listener.stop(self._grace_seconds)
        if self._state_file is not None:
            await self._state_file.flush()
            self._state_file = None

    # -- addresses --

    @property
    def production_url(self) -> str:
        """The URL in place of https://api.push.apple.com."""
        return f"https://{self._url_host}:{self.listeners['production'].port}"

    @property
    def sandbox_url(self) -> str:
        """The URL in place of https://api.sandbox.push.apple.com."""
        return f"https://{self._url_host}:{self.listeners['sandbox'].port}"

    def channels_url(self, environment: Environment) -> str:
        """Return the URL in place of https://api-manage-broadcast.push.apple.com, or of its sandbox."""
        return f"https://{self._url_host}:{self.management[environment].port}"

    @property
    def control_url(self) -> str:
        """The URL of the control API."""
        return f"http://{self._url_host}:{self._control.port}"

    @property
    def ca_pem(self) -> str:
        """The certificate (PEM) that clients must trust."""
        return self._state.authority.pem

    @property
    def _url_host(self) -> str:
        # The certificate names the loopback only, and a wildcard is no address to connect to.
        if self.host in ("", "0.0.0.0", "::"):  # noqa: S104
            return "localhost"
        return f"[{self.host}]" if ":" in self.host else self.host

    # -- the state file --

    def _state_changed(self) -> None:
        if self._state_file is not None:
            self._state_file.mark_changed()

    def _stored_state(self) -> state_files.StoredState:
        authority = self._state.authority
        snapshot, channels = self._state.registry.snapshot(), self._state.channels.all()
        return state_files.StoredState(authority.pem, authority.key_pem, snapshot, channels)


def _restore(path: Path | None, registry: StandInRegistry, channels: StandInChannels) -> Authority:
    """Restore registry and channels from the state file and return its authority; without a file, a new one."""
    stored = state_files.load(path) if path is not None else None
    if stored is None:
        return Authority()
    registry.restore(stored.registry)
    channels.restore(stored.channels)
    return Authority(stored.ca_certificate, stored.ca_key)
