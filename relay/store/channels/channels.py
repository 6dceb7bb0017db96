"""Broadcast channels as publishers and copies know them, and the channels of Apple's that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from relay.core.channels import ChannelPush, ChannelTopic
from relay.core.errors import Unavailable
from relay.store.database import Connection, Database
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

MOST_CHANNELS = 10_000
"""Channels of an app: as many as Apple allows each bundle identifier in an environment."""
_NIL = UUID(int=0)

_ADD = """
INSERT INTO channel (app_id, channel_id, message_storage, created_at)
SELECT $1, $2, $3, $4 WHERE (
    SELECT count(*) FROM (SELECT FROM channel WHERE app_id = $1 LIMIT $5) AS others
) < $5
"""
_SHOWN = """
SELECT c.app_id, c.channel_id, c.message_storage, c.created_at, (
    SELECT count(*) FROM apple_channel a
    WHERE a.app_id = c.app_id AND a.channel_id = c.channel_id AND a.remove_at IS NULL
) AS bundle_ids
FROM channel c
"""
_PAGE = _SHOWN + "WHERE c.app_id = ANY($1::text[]) AND c.channel_id > $2 ORDER BY c.channel_id LIMIT $3"
_FIND = _SHOWN + "WHERE c.app_id = ANY($1::text[]) AND c.channel_id = $2"
# A statement of its own: what was stored by those who had the channel locked is seen by the next one only.
_LOCK_TO_DELETE = "SELECT true FROM channel WHERE app_id = $1 AND channel_id = $2 FOR UPDATE"
_DELETE = """
WITH deleted AS (
    DELETE FROM channel WHERE app_id = $1 AND channel_id = $2 RETURNING app_id, channel_id
), pushes AS (
    DELETE FROM channel_push p USING deleted d WHERE p.app_id = d.app_id AND p.channel_id = d.channel_id
    RETURNING p.app_id, p.push_id
), deliveries AS (
    DELETE FROM channel_delivery v USING pushes p WHERE v.app_id = p.app_id AND v.push_id = p.push_id
), leaving AS (
    UPDATE apple_channel a SET remove_at = $3 FROM deleted d
    WHERE a.app_id = d.app_id AND a.channel_id = d.channel_id AND a.remove_at IS NULL
)
SELECT
"""

# --- what a copy asks ---

_OF_COPY = """
SELECT c.message_storage, a.apns_channel_id FROM channel c
LEFT JOIN apple_channel a ON a.app_id = c.app_id AND a.channel_id = c.channel_id AND a.remove_at IS NULL
     AND a.environment = $3 AND a.bundle_id = $4
WHERE c.app_id = $1 AND c.channel_id = $2
"""
_LOCK = "SELECT true FROM channel WHERE app_id = $1 AND channel_id = $2 FOR SHARE"
_KEEP = """
INSERT INTO apple_channel (app_id, channel_id, environment, bundle_id, apns_channel_id, team_id, created_at, remove_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
"""

# --- pushes ---

_WAITING = """
SELECT count(*) FROM (SELECT FROM channel_delivery WHERE app_id = $1 AND due_at IS NOT NULL LIMIT $2) AS waiting
"""
_PUSH = """
WITH pushed AS (
    INSERT INTO channel_push (app_id, push_id, channel_id, token_id, created_at, expires_at, priority, expiration,
                              payload, targets)
    SELECT $1, $3, $2, $4, $5, $6, $7, $8, $9, (
        SELECT count(*) FROM apple_channel WHERE app_id = $1 AND channel_id = $2 AND remove_at IS NULL
    )
    FROM channel WHERE app_id = $1 AND channel_id = $2 FOR SHARE
    RETURNING targets
), deliveries AS (
    INSERT INTO channel_delivery (app_id, push_id, environment, bundle_id, apns_channel_id, team_id, due_at)
    SELECT $1, $3, a.environment, a.bundle_id, a.apns_channel_id, a.team_id, $5
    FROM pushed, apple_channel a WHERE a.app_id = $1 AND a.channel_id = $2 AND a.remove_at IS NULL
)
SELECT targets FROM pushed
"""
_READ = """
SELECT app_id, channel_id, push_id, created_at, expires_at, priority, expiration, targets FROM channel_push
WHERE app_id = ANY($1::text[]) AND channel_id = $2 AND push_id = $3
"""
_COUNTS = """
SELECT outcome, reason, count(*) FROM channel_delivery
WHERE app_id = $1 AND push_id = $2 AND outcome IS NOT NULL GROUP BY outcome, reason
"""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of an app. `bundle_ids`: for so many there is a channel at Apple."""

    app_id: str
    channel_id: UUID
    message_storage: bool
    created_at: datetime
    bundle_ids: int = 0


class OfCopy(NamedTuple):
    """A channel as a copy sees it; `apns_channel_id` is None while Apple has none for its bundle identifier."""

    message_storage: bool
    apns_channel_id: str | None


class ChannelRepository:
    """The channels of all apps. `app_ids` are those that the caller may see."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the publisher's ---

    async def add(self, channel: Channel, publisher_id: UUID | None, actor: Actor) -> bool:
        """Store a channel. False if its app has `MOST_CHANNELS` already."""
        async with self._database.transaction() as connection:
            status = await connection.execute(
                _ADD,
                channel.app_id,
                channel.channel_id,
                channel.message_storage,
                channel.created_at,
                MOST_CHANNELS,
            )
            if str(status) != "INSERT 0 1":
                return False
            entry = _entry(AuditAction.CHANNEL_CREATED, channel.app_id, channel.channel_id, publisher_id)
            await audit.write_entries(connection, actor, channel.created_at, entry)
        return True

    async def page(self, app_ids: Sequence[str], after: UUID | None, limit: int) -> list[Channel]:
        """Up to `limit` channels that follow `after`, oldest first."""
        async with self._database.connection() as connection:
            return [Channel(**row) for row in await connection.fetch(_PAGE, app_ids, after or _NIL, limit)]

    async def find(self, app_ids: Sequence[str], channel_id: UUID) -> Channel | None:
        """That channel, if it is of one of these apps."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, app_ids, channel_id)
        return Channel(**row) if row else None

    async def delete(
        self, app_id: str, channel_id: UUID, publisher_id: UUID | None, now: datetime, actor: Actor
    ) -> bool:
        """Delete a channel with its pushes; what it stood for at Apple is deleted there from now on."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval(_LOCK_TO_DELETE, app_id, channel_id):
                return False
            await connection.execute(_DELETE, app_id, channel_id, now)
            entry = _entry(AuditAction.CHANNEL_DELETED, app_id, channel_id, publisher_id)
            await audit.write_entries(connection, actor, now, entry)
        return True

    async def app_ids(self, publisher_id: UUID | None) -> list[str]:
        """The apps of a publisher."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT app_id FROM app WHERE publisher_id = $1", publisher_id)
        return [row[0] for row in rows]

    # --- a copy's ---

    async def of_copy(self, app_id: str, channel_id: UUID, topic: ChannelTopic) -> OfCopy | None:
        """That channel for a copy with that topic; None if the app has none such."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                _OF_COPY, app_id, channel_id, topic.environment.value, topic.bundle_id
            )
        return OfCopy(*row) if row else None

    async def keep(
        self, app_id: str, channel_id: UUID, topic: ChannelTopic, apns_channel_id: str, now: datetime
    ) -> str | None:
        """Store a channel that was made at Apple. Returns the one that holds: another copy may have been faster.

        What does not hold, because of that or because the channel was deleted meanwhile (None), is deleted at Apple.
        """
        async with self._database.transaction() as connection:
            there = await connection.fetchval(_LOCK, app_id, channel_id)
            made = (
                app_id,
                channel_id,
                topic.environment.value,
                topic.bundle_id,
                apns_channel_id,
                topic.team_id,
            )
            if there and await connection.execute(_KEEP, *made, now, None) == "INSERT 0 1":
                return apns_channel_id
            await connection.execute(_KEEP, *made, now, now)
        found = await self.of_copy(app_id, channel_id, topic)
        return found.apns_channel_id if found else None

    # --- pushes ---

    async def push(self, app_id: str, channel_id: UUID, push: ChannelPush, most_waiting: int) -> int | None:
        """Store a push with a delivery to each of Apple's channels; their number. None if the channel is gone.

        Raises Unavailable if `most_waiting` deliveries of the app wait already.
        """
        async with self._database.transaction() as connection:
            waiting = await connection.fetchval(_WAITING, app_id, most_waiting)
            if waiting >= most_waiting:
                detail = "Too many pushes of this app wait to be sent; nothing was stored."
                raise Unavailable(detail, retry_after=5)
            targets: int | None = await connection.fetchval(
                _PUSH,
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

    async def read(
        self, app_ids: Sequence[str], channel_id: UUID, push_id: UUID
    ) -> tuple[asyncpg.Record, list[tuple[str, str, int]]] | None:
        """A push and (outcome, reason, count) of what has ended of it."""
        async with self._database.connection() as connection:
            push = await connection.fetchrow(_READ, app_ids, channel_id, push_id)
            if push is None:
                return None
            return push, await _counts(connection, push["app_id"], push_id)


async def _counts(connection: Connection, app_id: str, push_id: UUID) -> list[tuple[str, str, int]]:
    return [tuple(row) for row in await connection.fetch(_COUNTS, app_id, push_id)]


def _entry(action: AuditAction, app_id: str, channel_id: UUID, publisher_id: UUID | None) -> AuditEntry:
    return AuditEntry(action, str(channel_id), publisher_id, {"app_id": app_id})
