"""`push-relay vacuum`: the deletion of expired data now, ahead of the nodes' maintenance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

from relay.core.idempotency import KEY_KEPT_FOR
from relay.keys import key_ring
from relay.settings import Settings
from relay.store.database import Database
from relay.store.operations.audit import AuditRepository
from relay.store.operations.inventory import Partition
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import LISTED_FOR, NodeRepository
from relay.store.operations.retention import RetentionCutoffs, RetentionRepository
from relay.store.partitions import PartitionKeeper
from relay.store.push.idempotency_keys import IdempotencyKeyRepository
from relay.store.webhooks.webhook_queue import WebhookQueueRepository


@dataclass(frozen=True, slots=True)
class SweptData:
    """The data that was deleted or would be: partitions with their estimated rows, and rows of other tables by name.

    `left`: partitions that could not be dropped because another node holds a lock.
    """

    partitions: list[str]
    partition_rows: int
    partition_bytes: int
    rows: dict[str, int]
    left: list[str]


class _ExpiredRows(NamedTuple):
    """Expired rows of one table: their number, and a function that deletes some and returns how many."""

    table: str
    past: int
    drop: Callable[[], Awaitable[int]]


class Vacuum:
    """A sweep at one moment: the earlier of this machine's time and the database's."""

    def __init__(self, database: Database, settings: Settings, now: datetime) -> None:
        self._database = database
        self._settings = settings
        self._now = now.astimezone(UTC)
        retention = self._now - timedelta(days=settings.retention_days)
        self._cutoffs = RetentionCutoffs(
            pushes=retention.date(),
            audit=self._now - timedelta(days=settings.audit_days),
            idempotency_keys=self._now - KEY_KEPT_FOR,
            webhook_events=self._now - timedelta(seconds=settings.webhooks.keep),
            minute_counts=retention,
            nodes=self._now - LISTED_FOR,
        )
        self._kinds: Sequence[_ExpiredRows] = ()
        self._partitions: Sequence[Partition] = ()

    async def find_expired(self) -> SweptData:
        """Find the expired data.

        Raises:
            Unavailable: the database does not answer.
            SettingsError: the keys cannot be read.
        """
        database, cutoffs = self._database, self._cutoffs
        counted = await RetentionRepository(database).count_expired_rows(cutoffs)
        keys = key_ring(self._settings.keys, make=False).credentials
        messages = WebhookQueueRepository(database, keys, uuid4())  # no node: it leases nothing
        limit = self._settings.webhooks.waiting
        self._kinds = (
            _ExpiredRows(
                "audit", counted.audit, lambda: AuditRepository(database).delete_entries_before(cutoffs.audit)
            ),
            _ExpiredRows(
                "idempotency_key",
                counted.idempotency_keys,
                lambda: IdempotencyKeyRepository(database).drop_oldest_keys(cutoffs.idempotency_keys),
            ),
            _ExpiredRows(
                "webhook_event",
                counted.webhook_events,
                lambda: messages.drop_old_messages(cutoffs.webhook_events, limit),
            ),
            _ExpiredRows(
                "minute_count",
                counted.minute_counts,
                lambda: MinuteCountRepository(database).delete_counts_before(cutoffs.minute_counts),
            ),
            _ExpiredRows(
                "node", counted.nodes, lambda: NodeRepository(database).delete_nodes_before(cutoffs.nodes)
            ),
        )
        self._partitions = await RetentionRepository(database).list_expired_partitions(cutoffs)
        return _swept(self._partitions, {kind.table: kind.past for kind in self._kinds}, [])

    async def drop_expired(self, advance: Callable[[int], None]) -> SweptData:
        """Delete what `find_expired` found. Each step calls `advance` with its number of rows or partitions.

        Raises:
            Unavailable: the database does not answer.
        """
        rows = dict.fromkeys((kind.table for kind in self._kinds), 0)
        for kind in self._kinds:
            while (dropped := await kind.drop()) > 0:
                rows[kind.table] += dropped
                advance(dropped)
        left: list[str] = []
        if self._partitions:
            days = timedelta(days=self._settings.retention_days)
            await PartitionKeeper(self._database).keep_partitions(self._now, days)
            left = [
                partition.name
                for partition in await RetentionRepository(self._database).list_expired_partitions(
                    self._cutoffs
                )
            ]
        gone = [partition for partition in self._partitions if partition.name not in left]
        advance(len(gone))
        return _swept(gone, rows, left)


def _swept(gone: Sequence[Partition], rows: dict[str, int], left: list[str]) -> SweptData:
    names = [partition.name for partition in gone]
    return SweptData(
        names,
        sum(partition.rows for partition in gone),
        sum(partition.bytes for partition in gone),
        rows,
        left,
    )
