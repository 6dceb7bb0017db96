"""Webhooks as their publishers manage them; what is sent to them is webhook_queue.py's.

The secret with which messages are signed is encrypted at rest, as credentials are: the relay must be able to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from relay.core.webhooks.messages import Attempt
from relay.store.database import Connection, Database
from relay.store.encryption import SecretCipher
from relay.store.key_rotation import Rotation, reencrypt_old_secrets
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry

MOST = 10
"""Webhooks of one app: each of them gets every message."""
SEALED_FOR = "webhooks"
"""What their secrets are encrypted for."""
_NIL = UUID(int=0)

# The app's row is locked, so that two requests can't both make the last one.
_LOCK_APP = "SELECT FROM app WHERE app_id = $1 FOR NO KEY UPDATE"
_INSERT = """
INSERT INTO webhook (app_id, webhook_id, url, events, secret, created_at)
SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM webhook WHERE app_id = $1) < $7
"""
_SHOWN = """app_id, webhook_id, url, events, created_at, disabled_at, failures, failing_since, last_attempt_at,
last_status, last_error, given_up"""
_PAGE = f"""
SELECT {_SHOWN}, (
    SELECT count(*) FROM webhook_event e WHERE e.app_id = w.app_id AND e.webhook_id = w.webhook_id
) AS waiting
FROM webhook w WHERE app_id = $1 AND webhook_id > $2 ORDER BY webhook_id LIMIT $3
"""  # noqa: S608 - the columns are ours
_FIND = "SELECT url, secret FROM webhook WHERE app_id = $1 AND webhook_id = $2"
_REMOVE = "DELETE FROM webhook WHERE app_id = $1 AND webhook_id = $2 RETURNING url"
_REMOVE_EVENTS = "DELETE FROM webhook_event WHERE app_id = $1 AND webhook_id = $2"
# What it was before is read under the lock that the update then has.
_TESTED = """
WITH before AS (
    SELECT disabled_at FROM webhook WHERE app_id = $1 AND webhook_id = $2 FOR NO KEY UPDATE
)
UPDATE webhook w SET last_attempt_at = $3, last_status = $4, last_error = $5,
    failures = CASE WHEN $6 THEN 0 ELSE w.failures END,
    failing_since = CASE WHEN $6 THEN NULL ELSE w.failing_since END,
    resume_at = CASE WHEN $6 THEN NULL ELSE w.resume_at END,
    disabled_at = CASE WHEN $6 THEN NULL ELSE w.disabled_at END
FROM before b WHERE w.app_id = $1 AND w.webhook_id = $2
RETURNING w.url, $6 AND b.disabled_at IS NOT NULL AS enabled
"""
_LOCK = """
SELECT w.app_id, w.webhook_id, w.url, w.secret, a.publisher_id FROM webhook w JOIN app a USING (app_id)
ORDER BY w.app_id, w.webhook_id FOR NO KEY UPDATE OF w
"""
_REENCRYPT = """
UPDATE webhook w SET secret = n.secret
FROM unnest($1::text[], $2::uuid[], $3::bytea[]) AS n (app_id, webhook_id, secret)
WHERE w.app_id = n.app_id AND w.webhook_id = n.webhook_id
"""


@dataclass(frozen=True, slots=True, repr=False)
class NewWebhook:
    """A checked webhook to be stored; `secret` is in clear."""

    app_id: str
    webhook_id: UUID
    url: str
    events: Sequence[str]
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WebhookDescription:
    """What is told of a webhook: all but its secret.

    `last_status` is the status of the last answer, None where there was none; then `last_error` says why. `given_up`
    counts the messages that were never taken, `waiting` those that still may be.
    """

    app_id: str
    webhook_id: UUID
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    failing_since: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str
    given_up: int
    waiting: int

    @property
    def state(self) -> str:
        """active, failing or disabled."""
        if self.disabled_at is not None:
            return "disabled"
        return "failing" if self.failures else "active"


@dataclass(frozen=True, slots=True, repr=False)
class Destination:
    """Where a message goes, and what it is signed with."""

    url: str
    secret: str


class WebhookRepository:
    """The webhooks of all apps; their secrets are encrypted under `secret_keys`, oldest to newest."""

    def __init__(self, database: Database, secret_keys: tuple[str, ...]) -> None:
        self._database = database
        self._cipher = SecretCipher(secret_keys, SEALED_FOR)

    async def add(self, new: NewWebhook, publisher_id: UUID, now: datetime, actor: Actor) -> bool:
        """Store a webhook of that publisher's app. False if the app has `MOST` already."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_APP, new.app_id)
            status = await connection.execute(
                _INSERT,
                new.app_id,
                new.webhook_id,
                new.url,
                new.events,
                self._cipher.encrypt_secret(new.secret),
                now,
                MOST,
            )
            if str(status) != "INSERT 0 1":
                return False
            created = entry(AuditAction.WEBHOOK_CREATED, new.webhook_id, publisher_id, new.app_id, new.url)
            await audit.write_entries(connection, actor, now, created)
            return True

    async def page(self, app_id: str, after: UUID | None, limit: int) -> list[WebhookDescription]:
        """Up to `limit` of the app's webhooks that follow `after`, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, app_id, after or _NIL, limit)
            return [WebhookDescription(**row) for row in rows]

    async def find(self, app_id: str, webhook_id: UUID) -> Destination | None:
        """Where that webhook leads. None if the app has no such webhook; raises UndecryptableSecret."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, app_id, webhook_id)
        return Destination(row["url"], self._cipher.decrypt_secret(row["secret"])) if row else None

    async def remove(
        self, app_id: str, webhook_id: UUID, publisher_id: UUID, now: datetime, actor: Actor
    ) -> bool:
        """Remove a webhook with all that waits for it. False if the app has no such webhook."""
        async with self._database.transaction() as connection:
            url = await connection.fetchval(_REMOVE, app_id, webhook_id)
            if url is None:
                return False
            await connection.execute(_REMOVE_EVENTS, app_id, webhook_id)
            removed = entry(AuditAction.WEBHOOK_REMOVED, webhook_id, publisher_id, app_id, url)
            await audit.write_entries(connection, actor, now, removed)
            return True

    async def tested(
        self,
        app_id: str,
        webhook_id: UUID,
        attempt: Attempt,
        publisher_id: UUID,
        now: datetime,
        actor: Actor,
    ) -> None:
        """Note what became of a test. After one that went well a failing or disabled webhook is active again."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                _TESTED, app_id, webhook_id, now, attempt.status, attempt.error, attempt.delivered
            )
            if row is not None and row["enabled"]:
                enabled = entry(AuditAction.WEBHOOK_ENABLED, webhook_id, publisher_id, app_id, row["url"])
                await audit.write_entries(connection, actor, now, enabled)

    async def rotate_key(self, connection: Connection, now: datetime, actor: Actor) -> Rotation:
        """Encrypt anew, with the newest key, every secret that another one encrypted. The secrets stay the same.

        Raises Conflict if there is one that none of the keys opens.
        """
        rows = await connection.fetch(_LOCK)
        names = [f"webhook {row['webhook_id']}" for row in rows]
        anew = reencrypt_old_secrets(self._cipher, [row["secret"] for row in rows], names)
        changed = [rows[index] for index in anew]
        keys = [row["app_id"] for row in changed], [row["webhook_id"] for row in changed]
        await connection.execute(_REENCRYPT, *keys, list(anew.values()))
        await audit.write_entries(connection, actor, now, *map(_reencrypted, changed))
        return Rotation(len(rows), len(anew))


def entry(action: AuditAction, webhook_id: UUID, publisher_id: UUID, app_id: str, url: str) -> AuditEntry:
    """The audit entry of a webhook. It names the host alone: a path may be what the receiver knows us by."""
    return AuditEntry(
        action, str(webhook_id), publisher_id, {"app_id": app_id, "host": urlsplit(url).hostname or ""}
    )


def _reencrypted(row: asyncpg.Record) -> AuditEntry:
    return entry(
        AuditAction.WEBHOOK_REENCRYPTED, row["webhook_id"], row["publisher_id"], row["app_id"], row["url"]
    )
