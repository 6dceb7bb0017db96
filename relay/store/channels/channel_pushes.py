"""Pushes to channels, and their deliveries: leased until they are settled, as batches are.

There is a row for each channel at Apple instead of a batch: few of them, however many devices listen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from relay.core.accounts import Environment
from relay.core.channels import ChannelPush, ChannelTopic
from relay.core.delivery.outcomes import Outcome
from relay.core.errors import Unavailable
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.push_types import LIVE_ACTIVITY
from relay.store import sql
from relay.store.channels.records import (
    AppleChannel,
    ChannelDelivery,
    ChannelPushReport,
    SettledChannelDelivery,
    StoredChannelPush,
)
from relay.store.database import Connection, Database
from relay.store.push.records import OutcomeCount

_SQL = sql.load(__package__, "channel_pushes.sql")


class ChannelPushRepository:
    """The pushes to channels of all apps, and their deliveries. `owner` is the id of the node that leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store_channel_push(
        self, app_id: str, channel_id: UUID, push: ChannelPush, max_waiting: int
    ) -> int | None:
        """Store a push with a delivery to each channel at Apple. Returns their number, None if the channel is gone.

        Raises:
            Unavailable: The database is away, or `max_waiting` deliveries of the app wait already.
        """
        async with self._database.transaction() as connection:
            waiting = await connection.fetchval(_SQL["count_waiting_deliveries"], app_id, max_waiting)
            if waiting >= max_waiting:
                detail = "Too many pushes of this app wait to be sent; nothing was stored."
                raise Unavailable(detail, retry_after=5)
            targets: int | None = await connection.fetchval(
                _SQL["store_channel_push"],
                app_id,
                channel_id,
                push.push_id,
                push.token_id,
                push.created_at,
                push.expires_at,
                push.headers.priority,
                push.headers.expiration,
                push.payload,
            )
            return targets

    async def find_channel_push(
        self, app_ids: Sequence[str], channel_id: UUID, push_id: UUID
    ) -> ChannelPushReport | None:
        """Return a push to a channel of one of these apps, with the counts of its outcomes.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            push = await connection.fetchrow(_SQL["find_channel_push"], app_ids, channel_id, push_id)
            if push is None:
                return None
            rows = await connection.fetch(_SQL["count_channel_outcomes"], push["app_id"], push_id)
        outcomes = [OutcomeCount(Outcome(row[0]), row[1], row[2]) for row in rows]
        return ChannelPushReport(StoredChannelPush(**push), outcomes)

    async def lease_deliveries(
        self, owner: UUID, now: datetime, lease_end: datetime, max_deliveries: int
    ) -> list[ChannelDelivery]:
        """Lease about `max_deliveries` due deliveries until `lease_end`.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["lease_deliveries"], now, lease_end, owner, max_deliveries)
        return [
            ChannelDelivery(
                AppleChannel(row[0], row[1], ChannelTopic(row[3], Environment(row[4]), row[5]), row[6]),
                push_id=row[2],
                attempt=row[7],
                expires_at=row[8],
                headers=PushHeaders(LIVE_ACTIVITY.name, row[9], row[10]),
                payload=row[11],
            )
            for row in rows
        ]

    async def settle_deliveries(
        self, connection: Connection, owner: UUID, settled: Sequence[SettledChannelDelivery]
    ) -> None:
        """Write the results of deliveries whose lease `owner` still has."""
        rows = [
            (
                result.delivery.channel.app_id,
                result.delivery.push_id,
                result.delivery.channel.topic.environment.value,
                result.delivery.channel.topic.bundle_id,
                result.attempt,
                result.due_at,
                result.outcome,
                result.status,
                result.reason,
            )
            for result in settled
        ]
        await connection.execute(_SQL["settle_deliveries"], owner, rows)

    async def release_deliveries(self, owner: UUID, now: datetime) -> None:
        """End all leases of a node that shuts down: other nodes can lease its deliveries at once.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            await connection.execute(_SQL["release_deliveries"], owner, now)
