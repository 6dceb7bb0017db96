"""The audit log: each change that an operator, a publisher or the relay makes.

An entry is written in the transaction of its action, so neither is ever there without the other. An action that changes
nothing writes no entry. An entry holds ids, names and labels: never a token, a key, a UDID, a payload or a store's
customer reference.
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

from relay.store import sql
from relay.store.database import Connection, Database

_AFTER_LAST_ID = 2**63 - 1
_MAX_SEARCHED_ENTRIES = 20_000
"""Entries that one search reads at most."""
_SQL = sql.load(__package__, "audit.sql")


class AuditAction(StrEnum):
    """The actions that are logged. The API description lists them too."""

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


class ActorKind(StrEnum):
    """The kinds of actors in the log."""

    OPERATOR = "operator"
    PUBLISHER = "publisher"
    RELAY = "relay"


class Actor(NamedTuple):
    """The author of a change, and the API token that it used; None if it needs none."""

    kind: ActorKind
    token_id: UUID | None


COMMAND_LINE = Actor(ActorKind.OPERATOR, None)
"""An operator with the settings and the database of the relay, who needs no token."""
RELAY = Actor(ActorKind.RELAY, None)
"""The relay itself, after an answer from Apple or from the receiver of a webhook."""


class AuditEntry(NamedTuple):
    """An action on the thing with the id `subject`.

    The operator's log has all entries; the log of the publisher `publisher_id` has this one too.
    """

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
    """The entries to search for: those that equal every field that is not None."""

    action: str | None = None
    actor: str | None = None
    subject: str | None = None
    publisher_id: UUID | None = None


class AuditPage(NamedTuple):
    """Entries that a search found, newest first. `older` is the `before` of the next page, None where the log ends."""

    entries: list[LoggedEntry]
    older: int | None


async def write_entries(connection: Connection, actor: Actor, now: datetime, *entries: AuditEntry) -> None:
    """Write entries of one actor in the caller's transaction."""
    if entries:
        await connection.execute(
            _SQL["write"],
            now,
            *actor,
            [entry.action for entry in entries],
            [entry.subject for entry in entries],
            [entry.publisher_id for entry in entries],
            [json.dumps(entry.detail) for entry in entries],
        )


class AuditRepository:
    """The log to read, newest entry first, and the deletion of old entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_entries(self, before: int | None, limit: int) -> list[LoggedEntry]:
        """Return up to `limit` entries with ids below `before`, or the newest if it is None."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list"], before or _AFTER_LAST_ID, limit)
        return _logged_entries(rows)

    async def list_entries_of_publisher(
        self, publisher_id: UUID, before: int | None, limit: int
    ) -> list[LoggedEntry]:
        """Return up to `limit` entries of a publisher's log with ids below `before`, or the newest if it is None."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _SQL["list_of_publisher"], before or _AFTER_LAST_ID, limit, publisher_id
            )
        return _logged_entries(rows)

    async def search_entries(self, wanted: AuditFilter, before: int | None, limit: int) -> AuditPage:
        """Return up to `limit` matching entries with ids below `before`, or the newest if it is None.

        Reads 20,000 entries at most, so a page may be short or empty although older entries match.
        """
        filters = wanted.action, wanted.actor, wanted.subject, wanted.publisher_id
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _SQL["search"], before or _AFTER_LAST_ID, _MAX_SEARCHED_ENTRIES, limit + 1, *filters
            )
        matching = [row for row in rows if row["audit_id"] is not None]
        if len(matching) > limit:
            return AuditPage(_logged_entries(matching[:limit]), matching[limit - 1]["audit_id"])
        return AuditPage(_logged_entries(matching), rows[0]["searched_to"])

    async def delete_entries_before(self, moment: datetime, at_most: int = 10_000) -> int:
        """Delete up to `at_most` entries older than `moment`, the oldest first. Returns their number."""
        async with self._database.connection() as connection:
            status = await connection.execute(_SQL["delete_before"], moment, at_most)
        return int(status.rpartition(" ")[2])


def _logged_entries(rows: Sequence[asyncpg.Record]) -> list[LoggedEntry]:
    return [
        LoggedEntry(
            row["audit_id"],
            row["at"],
            row["actor"],
            row["token_id"],
            row["publisher_id"],
            row["action"],
            row["subject"],
            json.loads(row["detail"]),
        )
        for row in rows
    ]
