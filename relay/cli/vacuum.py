"""`push-relay vacuum`: what is past its time goes now, and not in the next rounds of upkeep. It says what went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

from relay.core.idempotency import KEPT
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
class Swept:
    """What went, or would go: partitions (with about so many rows), and rows of the other tables by their names.

    `left`: partitions that could not be dropped, because another node is at it.
    """

    partitions: list[str]
    partition_rows: int
    partition_bytes: int
    rows: dict[str, int]
    left: list[str]


class _Kind(NamedTuple):
    """Rows of one table that are past their time: how many, and what drops some of them and says how many."""

    table: str
    past: int
    drop: Callable[[], Awaitable[int]]


class Vacuum:
    """A sweep at one moment, which should be the earlier one by this machine's clock and the database's."""

    def __init__(self, database: Database, settings: Settings, now: datetime) -> None:
        self._database = database
        self._settings = settings
        self._now = now.astimezone(UTC)
        retention = self._now - timedelta(days=settings.retention_days)
        self._ends = RetentionCutoffs(
            pushes=retention.date(),
            audit=self._now - timedelta(days=settings.audit_days),
            idempotency_keys=self._now - KEPT,
            webhook_events=self._now - timedelta(seconds=settings.webhooks.keep),
            minute_counts=retention,
            nodes=self._now - LISTED_FOR,
        )
        self._kinds: Sequence[_Kind] = ()
        self._partitions: Sequence[Partition] = ()

    async def look(self) -> Swept:
        """What is to go. Raises Unavailable, and SettingsError without the keys."""
        database, ends = self._database, self._ends
        counted = await RetentionRepository(database).count_expired_rows(ends)
        keys = key_ring(self._settings.keys, make=False).credentials
        messages = WebhookQueueRepository(database, keys, uuid4())  # of no node: it leases nothing
        most = self._settings.webhooks.waiting
        self._kinds = (
            _Kind(
                "audit", counted.audit, lambda: AuditRepository(database).delete_entries_before(ends.audit)
            ),
            _Kind(
                "idempotency_key",
                counted.idempotency_keys,
                lambda: IdempotencyKeyRepository(database).drop_oldest_keys(ends.idempotency_keys),
            ),
            _Kind(
                "webhook_event",
                counted.webhook_events,
                lambda: messages.drop_old_messages(ends.webhook_events, most),
            ),
            _Kind(
                "minute_count",
                counted.minute_counts,
                lambda: MinuteCountRepository(database).delete_counts_before(ends.minute_counts),
            ),
            _Kind("node", counted.nodes, lambda: NodeRepository(database).delete_nodes_before(ends.nodes)),
        )
        self._partitions = await RetentionRepository(database).list_expired_partitions(ends)
        return _swept(self._partitions, {kind.table: kind.past for kind in self._kinds}, [])

    async def sweep(self, advance: Callable[[int], None]) -> Swept:
        """Drop what `look` found. `advance` is called with the rows and partitions that went. Raises Unavailable."""
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
                one.name
                for one in await RetentionRepository(self._database).list_expired_partitions(self._ends)
            ]
        gone = [one for one in self._partitions if one.name not in left]
        advance(len(gone))
        return _swept(gone, rows, left)


def _swept(gone: Sequence[Partition], rows: dict[str, int], left: list[str]) -> Swept:
    names = [one.name for one in gone]
    return Swept(names, sum(one.rows for one in gone), sum(one.bytes for one in gone), rows, left)
