"""Notices between nodes through PostgreSQL (LISTEN and NOTIFY): there is work, tokens were revoked.

A notice saves waiting and nothing else: a node that misses one finds the work at its next poll. So a notice is sent by
a statement of its own after the commit it is about. Inside the transaction it would serialise all commits, because
PostgreSQL takes one lock for all transactions that notify.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping
from contextvars import Context
from uuid import UUID

from relay.core.errors import RelayError, describe_error
from relay.store import sql
from relay.store.database import Database
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_SQL = sql.load(__package__, "notifications.sql")
_CHANNEL = "push_relay"
_SEND_INTERVAL_SECONDS = 0.02
"""Between two statements that send notices. Topics noted meanwhile go with the next one."""
_RECONNECT_PAUSE_SECONDS = 1.0


class NotificationTopic(enum.StrEnum):
    """The subject of a notice."""

    WORK = "work"
    """The queue may hold something that is due."""
    TOKENS = "tokens"
    """An API token was revoked."""
    CREDENTIALS = "credentials"
    """Credentials were added, changed, suspended, resumed or removed. A trigger of the database sends it."""
    CHANNELS = "channels"
    """A push to a channel, or the deletion of a channel at Apple, may be due."""


class NodeNotifier:
    """The connection to the other nodes. `handlers[topic]` is called for each notice of another node than `node`."""

    def __init__(
        self, database: Database, node: UUID, handlers: Mapping[NotificationTopic, Callable[[], None]]
    ) -> None:
        self._database = database
        self._node = str(node)
        self._handlers = handlers
        self._unsent: set[NotificationTopic] = set()
        self._sending: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Listen until cancelled. Connects again when the connection ends."""
        while True:
            try:
                await self._database.listen(_CHANNEL, self._handle_notice)
            except RelayError as error:
                _log.debug("notices of other nodes are not received", error=describe_error(error))
            await asyncio.sleep(_RECONNECT_PAUSE_SECONDS)

    def notify_nodes(self, topic: NotificationTopic) -> None:
        """Send a notice to the other nodes soon. Best effort: while the database is away, notices are dropped."""
        self._unsent.add(topic)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_notices(), context=Context())

    async def aclose(self) -> None:
        """Return when all notices have been sent."""
        while self._sending is not None:
            await asyncio.wait({self._sending})

    async def _send_notices(self) -> None:
        try:
            while self._unsent:
                topics, self._unsent = [str(topic) for topic in self._unsent], set()
                async with self._database.connection() as connection:
                    await connection.execute(_SQL["notify_nodes"], _CHANNEL, self._node, topics)
                await asyncio.sleep(_SEND_INTERVAL_SECONDS)
        except RelayError as error:
            _log.debug("notices could not be sent to other nodes", error=describe_error(error))
        finally:
            self._sending = None

    def _handle_notice(self, notice: str) -> None:
        """Call the handler of a notice "topic node". "" stands for missed notices: all handlers are called."""
        topic, _, node = notice.partition(" ")
        if node == self._node:
            return
        for known_topic, handle in self._handlers.items():
            if topic in ("", known_topic):
                handle()
