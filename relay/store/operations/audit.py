"""The audit log: who did what, of all that operators and publishers change.

An entry is written in the transaction of its action, so there is never one without the other; what changed nothing
writes none. It holds ids, names and labels: never a token, a key, a UDID, a payload or a store's customer reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from relay.store.database import Connection, Database

_LAST = 2**63 - 1
_LOOKED_THROUGH = 20_000
"""So many entries at most one search reads."""

_WRITE = """
INSERT INTO audit (at, actor, token_id, action, subject, publisher_id, detail)
SELECT $1, $2, $3, action, subject, publisher_id, detail
FROM unnest($4::text[], $5::text[], $6::uuid[], $7::jsonb[]) AS e (action, subject, publisher_id, detail)
"""
_COLUMNS = "audit_id, at, actor, token_id, publisher_id, action, subject, detail"
_ALL = f"SELECT {_COLUMNS} FROM audit WHERE audit_id < $1 ORDER BY audit_id DESC LIMIT $2"  # noqa: S608 - ours
_OF_PUBLISHER = f"""
SELECT {_COLUMNS} FROM audit WHERE publisher_id = $3 AND audit_id < $1 ORDER BY audit_id DESC LIMIT $2
"""  # noqa: S608 - the columns are ours
# Only so many entries are looked through: what is rare would else be searched for in all of the log.
_SEARCH = f"""
WITH looked AS MATERIALIZED (
    SELECT {_COLUMNS} FROM audit WHERE audit_id < $1 ORDER BY audit_id DESC LIMIT $2
), found AS (
    SELECT * FROM looked
    WHERE ($4::text IS NULL OR action = $4) AND ($5::text IS NULL OR actor = $5) AND ($6::text IS NULL OR subject = $6)
      AND ($7::uuid IS NULL OR publisher_id = $7)
    ORDER BY audit_id DESC LIMIT $3
)
SELECT searched_to, f.*
FROM (SELECT CASE WHEN count(*) = $2 THEN min(audit_id) END AS searched_to FROM looked) s LEFT JOIN found f ON true
ORDER BY audit_id DESC
"""  # noqa: S608 - the columns are ours
_DROP = """
DELETE FROM audit WHERE audit_id = ANY (ARRAY(SELECT audit_id FROM audit WHERE at < $1 ORDER BY at LIMIT $2))
"""


class AuditAction(StrEnum):
    """Everything that is logged. The API description lists the same."""

    PUBLISHER_CREATED = "publisher.created"
    APP_CREATED = "app.created"
    PUSH_TOKEN_CREATED = "push_token.created"
    PUSH_TOKEN_REVOKED = "push_token.revoked"
    MANAGE_TOKEN_CREATED = "manage_token.created"
    MANAGE_TOKEN_REVOKED = "manage_token.revoked"
    OPERATOR_TOKEN_CREATED = "operator_token.created"
    OPERATOR_TOKEN_REVOKED = "operator_token.revoked"
    TEST_DEVICE_ADDED = "test_device.added"
    TEST_DEVICE_CHANGED = "test_device.changed"
    TEST_DEVICE_REMOVED = "test_device.removed"
    CREDENTIAL_PUT = "credential.put"
    CREDENTIAL_SUSPENDED = "credential.suspended"
    CREDENTIAL_RESUMED = "credential.resumed"
    CREDENTIAL_REMOVED = "credential.removed"
    CREDENTIAL_REENCRYPTED = "credential.reencrypted"
    CHANNEL_CREATED = "channel.created"
    CHANNEL_DELETED = "channel.deleted"
    INSTALLATIONS_ENROLLED = "installations.enrolled"
    INSTALLATION_RETIRED = "installation.retired"
    APP_CHANGED = "app.changed"
    PUSH_SENT_FROM_CONSOLE = "push.sent_from_console"
    PUSH_CANCELLED = "push.cancelled"
    ALIAS_ATTACHED = "alias.attached"
    ALIAS_REMOVED = "alias.removed"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_REMOVED = "webhook.removed"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_REENCRYPTED = "webhook.reencrypted"


class Actor(NamedTuple):
    """Who acts: operator, publisher or relay, and with which API token."""

    kind: str
    token_id: UUID | None


COMMAND_LINE = Actor("operator", None)
"""Who has the relay's settings and its database needs no token."""
RELAY = Actor("relay", None)
"""The relay by itself, because of what Apple answered, or a webhook's receiver."""


class Entry(NamedTuple):
    """An action on the thing with the id `subject`. `publisher_id`: whose log it belongs to, beside the operator's."""

    action: AuditAction
    subject: str
    publisher_id: UUID | None = None
    detail: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry as it is read back."""

    audit_id: int
    at: datetime
    actor: str
    token_id: UUID | None
    publisher_id: UUID | None
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted: those that are like all that is not None."""

    action: str | None = None
    actor: str | None = None
    subject: str | None = None
    publisher_id: UUID | None = None


class AuditPage(NamedTuple):
    """Entries that were found, newest first, and where to go on (`before`); None where the log ends."""

    entries: list[LoggedEntry]
    older: int | None


async def write(connection: Connection, actor: Actor, now: datetime, *entries: Entry) -> None:
    """Write entries of one actor, in the transaction that `connection` is in."""
    if entries:
        await connection.execute(
            _WRITE,
            now,
            *actor,
            [entry.action for entry in entries],
            [entry.subject for entry in entries],
            [entry.publisher_id for entry in entries],
            [json.dumps(entry.detail) for entry in entries],
        )


class AuditLog:
    """Reads the log, newest entry first, and lets go of what is old."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def everything(self, before: int | None, limit: int) -> list[LoggedEntry]:
        """Up to `limit` entries older than the one with the id `before`; None: the newest."""
        async with self._database.connection() as connection:
            return _read(await connection.fetch(_ALL, before or _LAST, limit))

    async def of_publisher(self, publisher_id: UUID, before: int | None, limit: int) -> list[LoggedEntry]:
        """The same of one publisher's log."""
        async with self._database.connection() as connection:
            return _read(await connection.fetch(_OF_PUBLISHER, before or _LAST, limit, publisher_id))

    async def search(self, wanted: AuditFilter, before: int | None, limit: int) -> AuditPage:
        """Up to `limit` entries older than the one with the id `before`; None: the newest.

        Looks through 20,000 entries at most, so there may be fewer, or none, though older ones would be found.
        """
        filters = wanted.action, wanted.actor, wanted.subject, wanted.publisher_id
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SEARCH, before or _LAST, _LOOKED_THROUGH, limit + 1, *filters)
        found = [row for row in rows if row["audit_id"] is not None]
        if len(found) > limit:
            return AuditPage(_read(found[:limit]), found[limit - 1]["audit_id"])
        return AuditPage(_read(found), rows[0]["searched_to"])

    async def drop_before(self, moment: datetime, at_most: int = 10_000) -> int:
        """Drop what is older, the oldest first, up to `at_most` entries: the rest has its turn in the next round.

        Returns how many went.
        """
        async with self._database.connection() as connection:
            done = await connection.execute(_DROP, moment, at_most)
        return int(done.rpartition(" ")[2])


def _read(rows: Sequence[asyncpg.Record]) -> list[LoggedEntry]:
    return [_entry(row) for row in rows]


def _entry(row: asyncpg.Record) -> LoggedEntry:
    return LoggedEntry(
        row["audit_id"],
        row["at"],
        row["actor"],
        row["token_id"],
        row["publisher_id"],
        row["action"],
        row["subject"],
        json.loads(row["detail"]),
    )
