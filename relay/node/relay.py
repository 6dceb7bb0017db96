"""The composition root: the only place that wires the parts together.

api -> intake -> queue (PostgreSQL) -> dispatcher -> sender -> APNs -> settler -> PostgreSQL
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from relay.api.health import HealthApi
from relay.api.metrics import MetricsApi
from relay.apns.channels import AppleChannels, ChannelEndpoints
from relay.apns.connection import Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender
from relay.core.accounts import Environment
from relay.core.errors import Unavailable, describe
from relay.dispatch.backlog import Backlog
from relay.dispatch.broadcasts import Broadcaster
from relay.dispatch.channel_creation import ChannelCreator
from relay.dispatch.channels import ChannelDispatcher
from relay.dispatch.completion import CompletionWaiter
from relay.dispatch.credential_cache import CredentialCache
from relay.dispatch.dispatcher import Dispatcher
from relay.dispatch.intake import Intake
from relay.dispatch.webhook_receivers import HttpReceivers
from relay.dispatch.webhooks import WebhookDispatcher
from relay.http.connection import Runner
from relay.keys import KeyRing, key_ring
from relay.node.application import HttpDependencies, make_web
from relay.node.heartbeat import Heartbeat, Usage
from relay.node.maintenance import Upkeep, prepare
from relay.service.state_metrics import StateMetrics
from relay.settings import ApnsSettings, ChannelsSettings, Settings, SettingsError, endpoint
from relay.store.accounts.auth import ApiTokens
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.embedded import EmbeddedPostgres
from relay.store.notifications import NodeNotifier, NotificationTopic
from relay.store.operations.nodes import NodeState
from relay.store.webhooks.webhook_queue import WebhookQueue
from relay.telemetry.build import VERSION
from relay.telemetry.counts import TALLY
from relay.telemetry.logs import get_logger, log_loop_errors
from relay.telemetry.traces import Traces, open_traces

_log = get_logger(__name__)
BACKLOG = 1024
"""Connections that may wait to be accepted."""
_PAUSE = 1.0
"""Seconds before a database that was away at the start is tried again."""
_PATIENCE_WEB, _PATIENCE_DISPATCH, _PATIENCE_REST = 2.0, 6.0, 0.9
"""Seconds for the parts of an end in order: requests, what is on its way to Apple, and all else. Less than ten in all,
after which a supervisor kills."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What a node does: accept pushes and all else of the API, send them, or both."""

    api: bool = True
    dispatch: bool = True


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time in UTC."""
        return datetime.now(UTC)


def random_batch_id() -> int:
    """A random id for a batch: 62 bits, so that nodes need not ask for one."""
    return secrets.randbits(62)


async def start_postgres(settings: Settings, stack: AsyncExitStack) -> str:
    """The URL of the database; the embedded one is started where the settings name no other. `stack` stops it."""
    if settings.database.url:
        return settings.database.url
    server = await asyncio.to_thread(EmbeddedPostgres, Path(settings.database.embedded))
    stack.callback(server.stop)
    return server.url()


async def open_database(settings: Settings, stack: AsyncExitStack) -> Database:
    """The database of the settings; the embedded one is started first. `stack` closes both."""
    url = await start_postgres(settings, stack)
    wanted = settings.database
    database = await Database.connect(
        url,
        wanted.connections,
        connect_timeout=wanted.connect_timeout,
        statement_timeout=wanted.statement_timeout,
    )
    stack.push_async_callback(database.close)
    return database


class Relay:
    """A running relay. Use `start()`, and `aclose()` at the end."""

    def __init__(self, settings: Settings, keys: KeyRing, database: Database, roles: Roles) -> None:
        self.settings = settings
        self.database = database
        self._roles = roles
        clock = SystemClock()
        self._clock = clock
        node = uuid4()
        self._traces = _traces(settings, node)
        self._api_tokens = ApiTokens(
            database, clock, tell=lambda: self._notifier.notify_nodes(NotificationTopic.TOKENS)
        )
        self._notifier = NodeNotifier(
            database,
            node,
            {
                NotificationTopic.WORK: self._wake,
                NotificationTopic.TOKENS: self._api_tokens.forget,
                NotificationTopic.CHANNELS: lambda: self._channels.wake(),
            },
        )
        timing = Timing(connect=settings.apns.connect_timeout, response=settings.apns.response_timeout)
        self._sender = ApnsSender(
            {environment: _endpoint(settings.apns, environment) for environment in Environment},
            max_connections=settings.apns.max_connections,
            timing=timing,
        )
        self._apple_channels = AppleChannels(
            {environment: _channel_endpoints(settings, environment) for environment in Environment},
            self._sender,
            timing=timing,
        )
        self._watch = CompletionWaiter(database, settings.dispatch.poll)
        told = settings.webhooks
        self._receivers = HttpReceivers(
            allow_private=told.allow_private, timeout=told.timeout, ca_file=told.ca_file
        )
        self._webhooks = WebhookDispatcher(
            WebhookQueue(database, keys.credentials, node), self._receivers, clock, told, random.random
        )
        book = CredentialCache(Credentials(database, keys.credentials), clock)
        self.dispatcher = Dispatcher(
            database,
            book,
            self._sender,
            clock,
            settings.dispatch,
            node,
            random_batch_id,
            random.random,
            self._watch.settled,
            self._webhooks.wake,
            self._traces,
        )
        dispatch = settings.dispatch
        self._broadcaster = Broadcaster(
            database,
            clock,
            batch_size=dispatch.batch_size,
            queue_limit=settings.limits.queued_batches,
            poll=dispatch.poll,
            on_cut=self._tell_of_work,
        )
        self._intake = Intake(
            database,
            self.dispatcher,
            random_batch_id,
            self._tell_of_work,
            Backlog(settings.limits.queued_batches),
            batch_size=dispatch.batch_size,
            traces=self._traces,
        )
        self._opener = ChannelCreator(database, book, self._apple_channels, clock)
        self._channels = ChannelDispatcher(
            database,
            book,
            self._apple_channels,
            clock,
            dispatch,
            node,
            random.random,
            lease=timing.connect + timing.response + dispatch.lease,
        )
        self._upkeep = Upkeep(
            database, settings, clock, self._api_tokens.write_last_used, self._webhooks.trim
        )
        self._heartbeat = Heartbeat(database, _state_of(node, roles, clock.now()), clock, self._usage, TALLY)
        self._health = HealthApi(database)
        self._metrics = MetricsApi(
            StateMetrics(database, clock),
            self._heartbeat.measure,
            networks=settings.metrics.parsed(),
            trusted=settings.http.proxies(),
        )
        parts = HttpDependencies(
            database,
            clock,
            secrets.token_bytes,
            self._api_tokens,
            self._intake,
            self._watch,
            self._opener,
            self._receivers,
            self._traces,
            self._tell_of_work,
            self._tell_of_channels,
        )
        self.application = make_web(settings, parts, (self._health, self._metrics), keys, api=roles.api)
        self._runner = Runner(self.application, settings.http, shutdown_timeout=_PATIENCE_WEB)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    @classmethod
    async def start(
        cls,
        settings: Settings,
        stack: AsyncExitStack,
        *,
        roles: Roles = Roles(),
        listeners: Sequence[socket.socket] = (),
    ) -> Relay:
        """Listen and start everything. `stack` stops it again, in the order that loses nothing.

        A database that is away is waited for in the background: until then requests are answered 503. `listeners`
        are listening sockets to use instead of the settings' host and port.
        """
        asyncio.get_running_loop().set_exception_handler(log_loop_errors(_log))
        keys = key_ring(settings.keys)
        relay = cls(settings, keys, await open_database(settings, stack), roles)
        stack.push_async_callback(relay.aclose)
        await relay._runner.setup()
        for listener in listeners:
            await web.SockSite(relay._runner, listener, backlog=BACKLOG).start()
        if not listeners:
            where = settings.http
            await web.TCPSite(relay._runner, where.host, where.port, backlog=BACKLOG).start()
        try:
            await prepare(relay.database, settings, relay._clock.now())
        except Unavailable as error:
            _log.warning("waiting for the database", error=describe(error))
            relay._tasks.append(asyncio.create_task(relay._prepare_later()))
        else:
            relay._begin()
        return relay

    async def _prepare_later(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                await prepare(self.database, self.settings, self._clock.now())
            except Unavailable as error:
                _log.debug("waiting for the database", error=describe(error))
            except Exception as error:  # whoever looks after the database may mend it
                _log.error("the database cannot be prepared", error=describe(error))
            else:
                break
        _log.warning("the database is there")
        self._begin()

    def _begin(self) -> None:
        """The schema is there: work."""
        self._health.started = True
        work = [self._upkeep.run(), self._notifier.run(), self._heartbeat.run()]
        if self._roles.dispatch:
            work += [
                self.dispatcher.run(),
                self._broadcaster.run(),
                self._channels.run(),
                self._webhooks.run(),
            ]
        self._tasks += map(asyncio.create_task, work)

    async def aclose(self) -> None:
        """Stop accepting, commit what was accepted, let what is in flight end, hand back the rest: in ten seconds."""
        self._watch.close()
        await self._runner.cleanup()
        await _for_a_while(self._intake.aclose())
        await asyncio.gather(
            self.dispatcher.aclose(_PATIENCE_DISPATCH),
            self._channels.aclose(_PATIENCE_DISPATCH),
            self._webhooks.aclose(_PATIENCE_DISPATCH / 2),
        )
        await self._receivers.aclose()
        self._notifier.notify_nodes(NotificationTopic.WORK)  # what was handed back
        await asyncio.gather(
            *map(
                _for_a_while,
                (
                    self._notifier.aclose(),
                    self._apple_channels.aclose(),
                    self._sender.aclose(),
                    self._heartbeat.aclose(),
                ),
            )
        )
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._traces.on:
            await asyncio.to_thread(self._traces.close, _PATIENCE_REST)

    def _usage(self) -> Usage:
        return Usage(self.dispatcher.in_flight, *self._sender.usage)

    def _wake(self) -> None:
        self.dispatcher.wake()
        self._broadcaster.wake()

    def _tell_of_work(self) -> None:
        """Something was queued: for this node or, where it is busy or does not send, for the others."""
        self._wake()
        self._notifier.notify_nodes(NotificationTopic.WORK)

    def _tell_of_channels(self) -> None:
        """Something is due for channels, here or at a node that dispatches."""
        self._channels.wake()
        self._notifier.notify_nodes(NotificationTopic.CHANNELS)


def _state_of(node: UUID, roles: Roles, now: datetime) -> NodeState:
    """What a process says of itself, for all of its life."""
    names = [name for name, has in (("api", roles.api), ("dispatch", roles.dispatch)) if has]
    return NodeState(node, socket.gethostname(), os.getpid(), VERSION, tuple(names), now, now)


async def _for_a_while(work: Coroutine[Any, Any, None]) -> None:
    """Let a part end in order, if it does so soon."""
    try:
        async with asyncio.timeout(_PATIENCE_REST):
            await work
    except TimeoutError:
        _log.warning("the end is not in order: something took too long")


def _traces(settings: Settings, node: UUID) -> Traces:
    try:
        return open_traces(settings.telemetry.endpoint, settings.telemetry.sample, node)
    except ImportError:
        detail = (
            "telemetry.endpoint needs libraries that are not installed: pip install 'push-relay[telemetry]'"
        )
        raise SettingsError(detail) from None


def _endpoint(hosts: ApnsSettings | ChannelsSettings, environment: Environment) -> Endpoint:
    found = endpoint(hosts, environment)
    return Endpoint(found.host, found.port, found.ca_file)


def _channel_endpoints(settings: Settings, environment: Environment) -> ChannelEndpoints:
    return ChannelEndpoints(_endpoint(settings.channels, environment), _endpoint(settings.apns, environment))
