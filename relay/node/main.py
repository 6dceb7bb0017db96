"""A node of the relay: startup, main loop, shutdown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack

from aiohttp import web

from relay.api.health import HealthApi
from relay.core.errors import Unavailable, describe_error
from relay.http.connection import HttpRunner
from relay.keys import key_ring
from relay.node.application import HttpDependencies, build_application
from relay.node.database import open_database
from relay.node.maintenance import prepare_database
from relay.node.roles import ALL_ROLES, Roles
from relay.node.shutdown import REQUEST_PATIENCE_SECONDS, shut_down
from relay.node.startup import NodeParts, build_parts
from relay.settings import Settings
from relay.store.database import Database
from relay.telemetry.logs import get_logger, log_loop_errors

_log = get_logger(__name__)
ACCEPT_BACKLOG = 1024
"""Connections that may wait to be accepted."""
_RETRY_PAUSE_SECONDS = 1.0
"""Pause before the next attempt to reach a database that was away at startup."""


class Relay:
    """A running node. `start` returns one; the caller's exit stack shuts it down."""

    def __init__(self, parts: NodeParts, roles: Roles) -> None:
        self._parts = parts
        self._roles = roles
        self._health = HealthApi(parts.context.database)
        self.application = build_application(HttpDependencies.of(parts), self._health, serves_api=roles.api)
        self._runner = HttpRunner(
            self.application, parts.context.settings.http, shutdown_timeout=REQUEST_PATIENCE_SECONDS
        )
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        settings: Settings,
        stack: AsyncExitStack,
        *,
        roles: Roles = ALL_ROLES,
        listeners: Sequence[socket.socket] = (),
    ) -> Relay:
        """Start a node and return it listening. `stack` shuts it down.

        With `listeners`, serve these listening sockets instead of the host and port of `settings`. While the database
        is away, the node answers 503 and tries again in the background.

        Raises:
            SettingsError: the keys or the traces of `settings` cannot be used.
            OSError: the port cannot be opened.
        """
        asyncio.get_running_loop().set_exception_handler(log_loop_errors(_log))
        keys = key_ring(settings.keys)
        database = await open_database(settings, stack)
        relay = cls(build_parts(settings, keys, database, roles), roles)
        stack.push_async_callback(relay.aclose)
        await relay._listen(listeners)
        await relay._begin_work_when_prepared()
        return relay

    @property
    def settings(self) -> Settings:
        """The settings the node was started with."""
        return self._parts.context.settings

    @property
    def database(self) -> Database:
        """The node's database."""
        return self._parts.context.database

    @property
    def url(self) -> str:
        """The URL of the first address that the node listens at."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def aclose(self) -> None:
        """Shut the node down. Returns within ten seconds."""
        await shut_down(self._parts, self._runner, self._tasks)

    async def _listen(self, listeners: Sequence[socket.socket]) -> None:
        await self._runner.setup()
        for listener in listeners:
            await web.SockSite(self._runner, listener, backlog=ACCEPT_BACKLOG).start()
        if not listeners:
            http = self.settings.http
            await web.TCPSite(self._runner, http.host, http.port, backlog=ACCEPT_BACKLOG).start()

    async def _begin_work_when_prepared(self) -> None:
        try:
            await self._prepare_database()
        except Unavailable as error:
            _log.warning("waiting for the database", error=describe_error(error))
            self._tasks.append(asyncio.create_task(self._retry_preparing()))
        else:
            self._begin_work()

    async def _retry_preparing(self) -> None:
        while True:
            await asyncio.sleep(_RETRY_PAUSE_SECONDS)
            try:
                await self._prepare_database()
            except Unavailable as error:
                _log.debug("waiting for the database", error=describe_error(error))
            except Exception as error:  # an administrator may repair the database
                _log.error("the database cannot be prepared", error=describe_error(error))
            else:
                break
        _log.warning("the database is there")
        self._begin_work()

    async def _prepare_database(self) -> None:
        await prepare_database(self.database, self.settings, self._parts.context.clock.now())

    def _begin_work(self) -> None:
        """Start the loops: the database has the schema of this version."""
        self._health.started = True
        parts = self._parts
        loops = [parts.maintenance.run(), parts.signals.notifier.run(), parts.heartbeat.run()]
        if self._roles.dispatch:
            loops += [
                parts.dispatchers.pushes.run(),
                parts.dispatchers.broadcasts.run(),
                parts.dispatchers.channels.run(),
                parts.dispatchers.webhooks.run(),
            ]
        self._tasks += map(asyncio.create_task, loops)
