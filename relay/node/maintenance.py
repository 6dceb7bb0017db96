"""What has to be done now and then, by every node: partitions, what is kept for a while only, a look at the clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from relay.core.clock import Clock
from relay.core.errors import Unavailable, describe
from relay.core.idempotency import KEPT
from relay.settings import Settings
from relay.store.accounts.console_sessions import ConsoleSessionRepository
from relay.store.database import Database
from relay.store.migrations import SchemaMigrator
from relay.store.operations.audit import AuditRepository
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import LISTED_FOR, NodeRepository
from relay.store.partitions import PartitionKeeper
from relay.store.push.idempotency_keys import IdempotencyKeyRepository
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_PAUSE = 60.0
"""Seconds between two rounds."""


async def prepare_database(database: Database, settings: Settings, now: datetime) -> None:
    """Make the schema and the partitions that are missing. Raises Unavailable if the database is away."""
    await SchemaMigrator(database).apply_migrations()
    try:
        await _keep_partitions(database, settings, now)
    except Unavailable as error:  # a backup reads the tables, say: until that ends others take what comes
        _log.warning("the partitions are kept later", error=describe(error))


async def _keep_partitions(database: Database, settings: Settings, now: datetime) -> None:
    """The database's clock has a say: a node whose clock is ahead drops nothing for that."""
    moment = min(now, await database.now())
    await PartitionKeeper(database).keep_partitions(moment, timedelta(days=settings.retention_days))


class Maintenance:
    """Does its own work and `others`, round by round. What fails is done in the next one."""

    def __init__(
        self, database: Database, settings: Settings, clock: Clock, *others: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        own = (
            self._keep_partitions,
            self._keep_audit,
            self._keep_idempotency_keys,
            self._keep_sessions,
            self._keep_minute_counts,
            self._forget_nodes,
            self._compare_clocks,
        )
        self._work = (*own, *others)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE)
            for work in self._work:
                try:
                    await work()
                except Exception as error:  # the next round may go well
                    _log.warning("upkeep failed", error=describe(error))

    async def _keep_partitions(self) -> None:
        await _keep_partitions(self._database, self._settings, self._clock.now())

    async def _keep_audit(self) -> None:
        retention = timedelta(days=self._settings.audit_days)
        await AuditRepository(self._database).delete_entries_before(await self._sure_now() - retention)

    async def _keep_idempotency_keys(self) -> None:
        await IdempotencyKeyRepository(self._database).drop_keys_before(await self._sure_now() - KEPT)

    async def _sure_now(self) -> datetime:
        """A time that has come by the database's clock too: a node whose clock is ahead drops nothing for that."""
        return min(self._clock.now(), await self._database.now())

    async def _keep_minute_counts(self) -> None:
        retention = timedelta(days=self._settings.retention_days)
        await MinuteCountRepository(self._database).delete_counts_before(self._clock.now() - retention)

    async def _forget_nodes(self) -> None:
        await NodeRepository(self._database).delete_nodes_before(await self._database.now() - LISTED_FOR)

    async def _keep_sessions(self) -> None:
        await ConsoleSessionRepository(self._database).delete_idle_sessions(self._clock.now())

    async def _compare_clocks(self) -> None:
        """Leases go by them: nodes whose clocks differ by much take over what others are sending."""
        ahead = (self._clock.now() - await self._database.now()).total_seconds()
        if abs(ahead) > self._settings.dispatch.lease / 3:
            _log.error(
                "this machine's clock is off the database's: pushes may be sent twice",
                ahead_seconds=round(ahead),
            )
