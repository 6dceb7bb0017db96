"""The composition root: the only place that wires the parts together.

api -> intake -> queue (PostgreSQL) -> dispatcher -> sender -> APNs -> settler -> PostgreSQL
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from relay.api import http
from relay.api.device import DeviceApi
from relay.api.health import HealthApi
from relay.api.operator import OperatorApi
from relay.api.operator_installations import OperatorInstallationsApi
from relay.api.publisher import PublisherApi
from relay.api.pushes import PushesApi
from relay.api.send import SendApi
from relay.api.spec import SpecApi
from relay.apns.connection import Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender
from relay.config import KeyRing, Settings, endpoint, key_ring
from relay.core.accepting import Lifetimes
from relay.core.identifiers import Identifiers
from relay.core.install_tokens import InstallTokens
from relay.core.sending import Environment
from relay.core.udid import UdidDigests
from relay.dispatch.broadcasts import Broadcaster
from relay.dispatch.intake import Intake
from relay.dispatch.worker import Dispatcher
from relay.errors import describe
from relay.store.auth import ApiTokens
from relay.store.credentials import Credentials
from relay.store.database import Database
from relay.store.embedded import EmbeddedPostgres

_log = logging.getLogger(__name__)
BACKLOG = 1024
"""Connections that may wait to be accepted."""
_MAINTENANCE = 60.0
"""Seconds between two rounds of upkeep: partitions, and when tokens were used last."""


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
    """The database of the settings, migrated; the embedded one is started first. `stack` closes both."""
    url = await start_postgres(settings, stack)
    database = await Database.connect(url, settings.database.connections)
    stack.push_async_callback(database.close)
    await database.migrate()
    await database.keep_partitions(datetime.now(UTC), timedelta(days=settings.retention_days))
    return database


class Relay:
    """A running relay. Use `start()`, and `aclose()` at the end."""

    def __init__(self, settings: Settings, keys: KeyRing, database: Database) -> None:
        self.settings = settings
        self.database = database
        clock = SystemClock()
        self._clock = clock
        self._api_tokens = ApiTokens(database, clock)
        self._sender = ApnsSender(
            {environment: _endpoint(settings, environment) for environment in Environment},
            max_connections=settings.apns.max_connections,
            timing=Timing(connect=settings.apns.connect_timeout, response=settings.apns.response_timeout),
        )
        self.dispatcher = Dispatcher(
            database,
            Credentials(database, keys.credentials),
            self._sender,
            clock,
            settings.dispatch,
            uuid4(),
            random_batch_id,
            random.random,
        )
        dispatch = settings.dispatch
        self._broadcaster = Broadcaster(
            database, batch_size=dispatch.batch_size, poll=dispatch.poll, on_cut=self.dispatcher.wake
        )
        self._intake = Intake(
            database,
            self.dispatcher,
            random_batch_id,
            self._broadcaster.wake,
            batch_size=dispatch.batch_size,
        )
        self._web = self._make_web(keys)
        self._runner = web.AppRunner(self._web, access_log=None, shutdown_timeout=10.0)
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
        dispatch: bool = True,
        listeners: Sequence[socket.socket] = (),
    ) -> Relay:
        """Start everything and listen. `stack` stops it again, in the order that loses nothing.

        Without `dispatch` pushes are accepted only; other nodes on the same database send them. `listeners` are
        listening sockets to use instead of the settings' host and port.
        """
        keys = key_ring(settings.keys)
        relay = cls(settings, keys, await open_database(settings, stack))
        stack.push_async_callback(relay.aclose)
        await relay._runner.setup()
        for listener in listeners:
            await web.SockSite(relay._runner, listener, backlog=BACKLOG).start()
        if not listeners:
            where = settings.http
            await web.TCPSite(relay._runner, where.host, where.port, backlog=BACKLOG).start()
        relay._tasks = [asyncio.create_task(relay._maintain())]
        if dispatch:
            relay._tasks.append(asyncio.create_task(relay.dispatcher.run()))
            relay._tasks.append(asyncio.create_task(relay._broadcaster.run()))
        return relay

    async def aclose(self) -> None:
        """Stop accepting, commit what was accepted, let what is in flight end, hand back the rest."""
        await self._runner.cleanup()
        await self._intake.aclose()
        await self.dispatcher.aclose()
        await self._sender.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _make_web(self, keys: KeyRing) -> web.Application:
        database, clock, random_bytes = self.database, self._clock, secrets.token_bytes
        identifiers = Identifiers(keys.identifiers)
        install_tokens = InstallTokens(keys.installations)
        udid_digests = UdidDigests(keys.udid)
        dispatch = self.settings.dispatch
        apis = (
            SendApi(
                self._intake,
                identifiers,
                Lifetimes(dispatch.keep, dispatch.immediate_window),
                clock,
                random_bytes,
            ),
            PushesApi(database),
            DeviceApi(database, install_tokens, clock),
            PublisherApi(database, self._api_tokens, udid_digests, clock, random_bytes),
            OperatorApi(database, keys.credentials, clock, random_bytes),
            OperatorInstallationsApi(
                database, identifiers, install_tokens, udid_digests, clock, random_bytes
            ),
            SpecApi(),
            HealthApi(database),
        )
        application = web.Application(
            client_max_size=self.settings.http.max_body, middlewares=[http.problems]
        )
        application[http.API_TOKENS] = self._api_tokens
        application[http.INSTALL_TOKENS] = install_tokens
        for api in apis:
            application.add_routes(list(api.routes()))
        return application

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(_MAINTENANCE)
            for work in (self._api_tokens.write_last_used, self._keep_partitions):
                try:
                    await work()
                except Exception as error:  # the next round may go well
                    _log.warning("upkeep failed: %s", describe(error))

    async def _keep_partitions(self) -> None:
        retention = timedelta(days=self.settings.retention_days)
        await self.database.keep_partitions(self._clock.now(), retention)


def _endpoint(settings: Settings, environment: Environment) -> Endpoint:
    found = endpoint(settings.apns, environment)
    return Endpoint(found.host, found.port, found.ca_file)
