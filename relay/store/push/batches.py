"""The queue of batches: lease them, resolve their targets, extend and release the leases.

A lease moves the due time of a batch to the end of the lease. No row has a state "processing": a batch whose node died
is due again by itself. A batch row holds exactly the installations that have not been settled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from relay.core.delivery.outcomes import FailureDomain
from relay.core.delivery.plan import ClaimedBatch, ListedDevice, TargetGroup
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.push_types import PUSH_TYPES
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.push.records import ENVIRONMENTS, DispatchContext

_SQL = sql.load(__package__, "batches.sql")
_LEASE_BATCHES = _SQL["lease_batches"]
_RESOLVE_TARGETS = _SQL["resolve_targets"]
_RESOLVE_DENSE_TARGETS = _SQL["resolve_dense_targets"]
_READ_DISPATCH_CONTEXT = _SQL["read_dispatch_context"]


class BatchRepository:
    """The batches in the queue. `owner` is the id of the node that leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease_batches(
        self, owner: UUID, now: datetime, lease_end: datetime, max_small: int, max_bulk: int
    ) -> list[ClaimedBatch]:
        """Lease due batches until `lease_end`: about `max_small` small ones and `max_bulk` bulk ones.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LEASE_BATCHES, now, lease_end, owner, max_small, max_bulk)
        return [
            ClaimedBatch(
                app_id=row[0],
                push_id=row[1],
                batch_id=row[2],
                attempt=row[3],
                installations=row[4],
                payload=row[5],
                headers=PushHeaders(row[6], row[7], row[8], row[9]),
                accepted_at=row[10],
                expires_at=row[11],
                last_reason=row[12],
                dense=row[13],
                cancelled=row[14],
                token_kind=row[15] or PUSH_TYPES[row[6]].token_kind,
            )
            for row in rows
        ]

    async def resolve_targets(
        self, connection: Connection, batches: Sequence[ClaimedBatch]
    ) -> list[list[TargetGroup]]:
        """Return the targets of each batch, by index: installations with an active device token of its kind."""
        app_ids = [batch.app_id for batch in batches]
        token_kinds = [batch.token_kind for batch in batches]
        groups: list[list[TargetGroup]] = [[] for _ in batches]
        numbers: list[int] = []
        installation_ids: list[int] = []
        dense: list[tuple[int, int, int]] = []
        for number, batch in enumerate(batches, start=1):
            if batch.dense:
                dense.append((number, min(batch.installations), max(batch.installations)))
            else:
                numbers.extend([number] * len(batch.installations))
                installation_ids.extend(batch.installations)
        if numbers:
            for row in await connection.fetch(
                _RESOLVE_TARGETS, numbers, installation_ids, app_ids, token_kinds
            ):
                groups[row[0] - 1].append(_target_group(row))
        if dense:
            for row in await connection.fetch(
                _RESOLVE_DENSE_TARGETS, *zip(*dense, strict=True), app_ids, token_kinds
            ):
                batch = batches[row[0] - 1]
                if (group := _target_group(row).among(batch.installations)).installations:
                    groups[row[0] - 1].append(group)
        return groups

    async def read_dispatch_context(self, connection: Connection, app_ids: Sequence[str]) -> DispatchContext:
        """Return what dispatch needs to know about these apps."""
        context = DispatchContext(defaultdict(dict), set())
        for app_id, installation_id, label, failure_domain in await connection.fetch(
            _READ_DISPATCH_CONTEXT, app_ids
        ):
            if installation_id is None:
                context.with_webhook.add(app_id)
            else:
                context.listed[app_id][installation_id] = ListedDevice(label, FailureDomain(failure_domain))
        return context

    async def extend_leases(self, owner: UUID, batches: Iterable[ClaimedBatch], lease_end: datetime) -> None:
        """Extend the leases of batches that are still being sent. Lost leases stay lost.

        Raises:
            Unavailable: The database is away.
        """
        keys = [(batch.app_id, batch.push_id, batch.batch_id) for batch in batches]
        async with self._database.connection() as connection:
            await connection.execute(_SQL["extend_leases"], owner, lease_end, keys)

    async def release_batches(self, owner: UUID, now: datetime) -> None:
        """End all leases of a node that shuts down: other nodes can lease its batches at once.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            await connection.execute(_SQL["release_batches"], owner, now)

    async def count_waiting_batches(self, app_ids: Sequence[str], limit: int) -> dict[str, int]:
        """Return how many batches and uncut broadcasts each app has in the queue, each counted up to `limit`.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["count_waiting_batches"], app_ids, limit)
        return {row[0]: row[1] for row in rows}


def _target_group(row: asyncpg.Record) -> TargetGroup:
    """Return the group of a row of `resolve_targets` or `resolve_dense_targets`, whose first column is the batch."""
    return TargetGroup(row[1], ENVIRONMENTS[row[2]], row[3], row[4], row[5])
