"""What nodes tell each other through PostgreSQL (LISTEN and NOTIFY): there is work, tokens were revoked.

A notice saves waiting, no more: whoever misses it finds the same at the next look. So it is sent after the commit it is
about, by itself: inside the transaction it would make all commits wait for each other.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping
from contextvars import Context
from uuid import UUID

from relay.core.errors import RelayError, describe
from relay.store.database import Database
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_CHANNEL = "push_relay"
_TELL = "SELECT pg_notify($1, topic || ' ' || $2) FROM unnest($3::text[]) AS topic"
_GATHER = 0.02
"""Seconds between two notices of a node: what is told meanwhile goes with the next."""
_PAUSE = 1.0
"""Seconds before a connection that listened is replaced."""


class NotificationTopic(enum.StrEnum):
    """What a notice is about."""

    WORK = "work"
    """The queue may hold something that is due."""
    TOKENS = "tokens"
    """An API token was revoked."""
    CHANNELS = "channels"
    """A push to a channel, or one to be deleted at Apple, may be due."""


class Notices:
    """Tells the other nodes, and calls `on[topic]` for what they tell. `node` is this one."""

    def __init__(
        self, database: Database, node: UUID, on: Mapping[NotificationTopic, Callable[[], None]]
    ) -> None:
        self._database = database
        self._node = str(node)
        self._on = on
        self._untold: set[NotificationTopic] = set()
        self._telling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Listen until cancelled. A database that is away is waited for."""
        while True:
            try:
                await self._database.listen(_CHANNEL, self._hear)
            except RelayError as error:
                _log.debug("nothing is heard of other nodes", error=describe(error))
            await asyncio.sleep(_PAUSE)

    def tell(self, topic: NotificationTopic) -> None:
        """Tell the other nodes in a moment. Nobody waits for it, and it may fail."""
        self._untold.add(topic)
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell(), context=Context())

    async def aclose(self) -> None:
        """Returns when everything has been told."""
        while self._telling is not None:
            await asyncio.wait({self._telling})

    async def _tell(self) -> None:
        try:
            while self._untold:
                topics, self._untold = [str(topic) for topic in self._untold], set()
                async with self._database.connection() as connection:
                    await connection.execute(_TELL, _CHANNEL, self._node, topics)
                await asyncio.sleep(_GATHER)
        except RelayError as error:
            _log.debug("the other nodes could not be told", error=describe(error))
        finally:
            self._telling = None

    def _hear(self, notice: str) -> None:
        """A notice is "topic node"; "" stands for all that may have been told before we listened."""
        topic, _, node = notice.partition(" ")
        if node == self._node:
            return
        for known, act in self._on.items():
            if topic in ("", known):
                act()
