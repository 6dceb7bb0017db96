"""The periodic maintenance by every node: partitions, deletion of expired data, comparison of clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from relay.core.clock import Clock
from relay.core.errors import Unavailable, describe_error
from relay.core.idempotency import KEY_KEPT_FOR
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
_ROUND_PAUSE_SECONDS = 60.0


async def prepare_database(database: Database, settings: Settings, now: datetime) -> None:
    """Create missing tables and partitions. Raises Unavailable if the database is away."""
    await SchemaMigrator(database).apply_migrations()
    try:
        await _keep_partitions(database, settings, now)
    except (
        Unavailable
    ) as error:  # a backup may lock the tables; until it ends, existing partitions take the rows
        _log.warning("the partitions are kept later", error=describe_error(error))


async def _keep_partitions(database: Database, settings: Settings, now: datetime) -> None:
    """Create and drop partitions by the earlier of both clocks: a node whose clock is ahead must not drop more."""
    moment = min(now, await database.now())
    await PartitionKeeper(database).keep_partitions(moment, timedelta(days=settings.retention_days))


class Maintenance:
    """The periodic work of a node: its tasks and `others`. A task that fails is repeated in the next round."""

    def __init__(
        self, database: Database, settings: Settings, clock: Clock, *others: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        tasks = (
            self._keep_partitions,
            self._keep_audit,
            self._keep_idempotency_keys,
            self._keep_sessions,
            self._keep_minute_counts,
            self._forget_nodes,
            self._compare_clocks,
        )
        self._tasks = (*tasks, *others)

    async def run(self) -> None:
        """Run rounds until cancelled."""
        while True:
            await asyncio.sleep(_ROUND_PAUSE_SECONDS)
            for task in self._tasks:
                try:
                    await task()
                except Exception as error:  # the next round may succeed
                    _log.warning("upkeep failed", error=describe_error(error))

    async def _keep_partitions(self) -> None:
        await _keep_partitions(self._database, self._settings, self._clock.now())

    async def _keep_audit(self) -> None:
        retention = timedelta(days=self._settings.audit_days)
        await AuditRepository(self._database).delete_entries_before(await self._safe_now() - retention)

    async def _keep_idempotency_keys(self) -> None:
        await IdempotencyKeyRepository(self._database).drop_keys_before(await self._safe_now() - KEY_KEPT_FOR)

    async def _safe_now(self) -> datetime:
        """Return the earlier of both clocks: a node whose clock is ahead must not delete more."""
        return min(self._clock.now(), await self._database.now())

    async def _keep_minute_counts(self) -> None:
        retention = timedelta(days=self._settings.retention_days)
        await MinuteCountRepository(self._database).delete_counts_before(self._clock.now() - retention)

    async def _forget_nodes(self) -> None:
        await NodeRepository(self._database).delete_nodes_before(await self._database.now() - LISTED_FOR)

    async def _keep_sessions(self) -> None:
        await ConsoleSessionRepository(self._database).delete_idle_sessions(self._clock.now())

    async def _compare_clocks(self) -> None:
        """Log an error if the clocks differ so much that a node takes over batches that others still send."""
        ahead = (self._clock.now() - await self._database.now()).total_seconds()
        if abs(ahead) > self._settings.dispatch.lease / 3:
            _log.error(
                "this machine's clock is off the database's: pushes may be sent twice",
                ahead_seconds=round(ahead),
            )
