"""The composition root: the only place that wires the parts together.

api -> intake -> queue (PostgreSQL) -> dispatcher -> sender -> APNs -> settler -> PostgreSQL
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web

from relay.api import http
from relay.api.audit import AuditApi
from relay.api.connections import Runner
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
from relay.core.rate import RateLimit
from relay.core.sending import Environment
from relay.core.udid import UdidDigests
from relay.dispatch.backlog import Backlog
from relay.dispatch.broadcasts import Broadcaster
from relay.dispatch.intake import Intake
from relay.dispatch.worker import Dispatcher
from relay.errors import Unavailable, describe
from relay.store.audit import AuditLog
from relay.store.auth import ApiTokens
from relay.store.credentials import Credentials
from relay.store.database import Database
from relay.store.embedded import EmbeddedPostgres
from relay.store.notices import Notices, Topic

_log = logging.getLogger(__name__)
BACKLOG = 1024
"""Connections that may wait to be accepted."""
_MAINTENANCE = 60.0
"""Seconds between two rounds of upkeep: partitions, the audit log, and when tokens were used last."""
_PAUSE = 1.0
"""Seconds before a database that was away at the start is tried again."""
_PATIENCE_WEB, _PATIENCE_DISPATCH, _PATIENCE_REST = 2.0, 6.0, 0.5
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
    database = await Database.connect(url, settings.database.connections)
    stack.push_async_callback(database.close)
    return database


async def prepare(database: Database, settings: Settings, now: datetime) -> None:
    """Make the schema and the partitions that are missing. Raises Unavailable if the database is away."""
    await database.migrate()
    await keep_partitions(database, settings, now)


async def keep_partitions(database: Database, settings: Settings, now: datetime) -> None:
    """Make the partitions of the next days, and drop those that have been kept long enough. Raises Unavailable."""
    await database.keep_partitions(now, timedelta(days=settings.retention_days))


class Relay:
    """A running relay. Use `start()`, and `aclose()` at the end."""

    def __init__(self, settings: Settings, keys: KeyRing, database: Database, roles: Roles) -> None:
        self.settings = settings
        self.database = database
        self._roles = roles
        clock = SystemClock()
        self._clock = clock
        node = uuid4()
        self._api_tokens = ApiTokens(database, clock, tell=lambda: self._notices.tell(Topic.TOKENS))
        self._notices = Notices(
            database, node, {Topic.WORK: self._wake, Topic.TOKENS: self._api_tokens.forget}
        )
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
            node,
            random_batch_id,
            random.random,
        )
        dispatch = settings.dispatch
        self._broadcaster = Broadcaster(
            database, batch_size=dispatch.batch_size, poll=dispatch.poll, on_cut=self._tell_of_work
        )
        self._intake = Intake(
            database,
            self.dispatcher,
            random_batch_id,
            self._tell_of_work,
            Backlog(settings.limits.queued_batches),
            batch_size=dispatch.batch_size,
        )
        self._health = HealthApi(database)
        self._web = self._make_web(keys)
        self._runner = Runner(self._web, settings.http, shutdown_timeout=_PATIENCE_WEB)
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
            _log.warning("waiting for the database: %s", describe(error))
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
                _log.debug("waiting for the database: %s", describe(error))
            else:
                break
        _log.warning("the database is there")
        self._begin()

    def _begin(self) -> None:
        """The schema is there: work."""
        self._health.started = True
        work = [self._maintain(), self._notices.run()]
        if self._roles.dispatch:
            work += [self.dispatcher.run(), self._broadcaster.run()]
        self._tasks += map(asyncio.create_task, work)

    async def aclose(self) -> None:
        """Stop accepting, commit what was accepted, let what is in flight end, hand back the rest: in ten seconds."""
        await self._runner.cleanup()
        await _for_a_while(self._intake.aclose())
        await self.dispatcher.aclose(_PATIENCE_DISPATCH)
        self._notices.tell(Topic.WORK)  # what was handed back
        await _for_a_while(self._notices.aclose())
        await _for_a_while(self._sender.aclose())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wake(self) -> None:
        self.dispatcher.wake()
        self._broadcaster.wake()

    def _tell_of_work(self) -> None:
        """Something was queued: for this node or, where it is busy or does not send, for the others."""
        self._wake()
        self._notices.tell(Topic.WORK)

    def _make_web(self, keys: KeyRing) -> web.Application:
        database, clock, random_bytes = self.database, self._clock, secrets.token_bytes
        identifiers = Identifiers(keys.identifiers)
        install_tokens = InstallTokens(keys.installations)
        udid_digests = UdidDigests(keys.udid)
        dispatch, limits = self.settings.dispatch, self.settings.limits
        application = web.Application(
            client_max_size=self.settings.http.max_body, middlewares=[http.problems]
        )
        application[http.API_TOKENS] = self._api_tokens
        application[http.BODY_TIMEOUT] = self.settings.http.body_timeout
        application[http.INSTALL_TOKENS] = install_tokens
        application.add_routes(list(self._health.routes()))
        if not self._roles.api:
            return application
        apis = (
            SendApi(
                self._intake,
                identifiers,
                Lifetimes(dispatch.keep, dispatch.immediate_window),
                RateLimit(limits.pushes_per_second, limits.burst),
                clock,
                random_bytes,
            ),
            PushesApi(database),
            DeviceApi(database, install_tokens, clock),
            PublisherApi(database, self._api_tokens, udid_digests, clock, random_bytes),
            OperatorApi(database, keys.credentials, clock, random_bytes, self._tell_of_work),
            OperatorInstallationsApi(
                database, identifiers, install_tokens, udid_digests, clock, random_bytes
            ),
            AuditApi(database),
            SpecApi(),
        )
        for api in apis:
            application.add_routes(list(api.routes()))
        return application

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(_MAINTENANCE)
            for work in (self._api_tokens.write_last_used, self._keep_partitions, self._keep_audit):
                try:
                    await work()
                except Exception as error:  # the next round may go well
                    _log.warning("upkeep failed: %s", describe(error))

    async def _keep_partitions(self) -> None:
        await keep_partitions(self.database, self.settings, self._clock.now())

    async def _keep_audit(self) -> None:
        retention = timedelta(days=self.settings.audit_days)
        await AuditLog(self.database).drop_before(self._clock.now() - retention)


async def _for_a_while(work: Coroutine[Any, Any, None]) -> None:
    """Let a part end in order, if it does so soon."""
    try:
        async with asyncio.timeout(_PATIENCE_REST):
            await work
    except TimeoutError:
        _log.warning("the end is not in order: something took too long")


def _endpoint(settings: Settings, environment: Environment) -> Endpoint:
    found = endpoint(settings.apns, environment)
    return Endpoint(found.host, found.port, found.ca_file)
