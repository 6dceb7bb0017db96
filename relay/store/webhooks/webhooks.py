"""Webhooks as their publishers manage them. Messages to them are the subject of outbox.py and webhook_queue.py.

The secret that signs messages is encrypted at rest, as credentials are: the relay must be able to read it.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from relay.core.webhooks.messages import Attempt
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.encryption import SecretCipher
from relay.store.key_rotation import Rotation, reencrypt_old_secrets
from relay.store.operations import audit
from relay.store.operations.audit import Actor, AuditAction, AuditEntry
from relay.store.webhooks.records import NewWebhook, WebhookDescription, WebhookDestination

MAX_WEBHOOKS_PER_APP = 10
"""Every message goes to each of them."""
CIPHER_PURPOSE = "webhooks"
_NIL_UUID = UUID(int=0)
_SQL = sql.load(__package__, "webhooks.sql")


class WebhookRepository:
    """The webhooks of all apps. Their secrets are encrypted under `secret_keys`, oldest to newest.

    Every method raises Unavailable while the database is away.
    """

    def __init__(self, database: Database, secret_keys: tuple[str, ...]) -> None:
        self._database = database
        self._cipher = SecretCipher(secret_keys, CIPHER_PURPOSE)

    async def create_webhook(
        self, webhook: NewWebhook, publisher_id: UUID, now: datetime, actor: Actor
    ) -> bool:
        """Store a webhook of that publisher's app. Returns False if the app has `MAX_WEBHOOKS_PER_APP` already."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_app"], webhook.app_id)
            status = await connection.execute(
                _SQL["create_webhook"],
                webhook.app_id,
                webhook.webhook_id,
                webhook.url,
                webhook.events,
                self._cipher.encrypt_secret(webhook.secret),
                now,
                MAX_WEBHOOKS_PER_APP,
            )
            if str(status) != "INSERT 0 1":
                return False
            entry = webhook_audit_entry(
                AuditAction.WEBHOOK_CREATED, webhook.webhook_id, publisher_id, webhook.app_id, webhook.url
            )
            await audit.write_entries(connection, actor, now, entry)
            return True

    async def list_webhooks(self, app_id: str, after: UUID | None, limit: int) -> list[WebhookDescription]:
        """Return up to `limit` of the app's webhooks that follow the webhook `after`, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_webhooks"], app_id, after or _NIL_UUID, limit)
        return [WebhookDescription(**row) for row in rows]

    async def find_destination(self, app_id: str, webhook_id: UUID) -> WebhookDestination | None:
        """Return the URL and the secret of a webhook, or None if the app has no such webhook.

        Raises:
            UndecryptableSecret: None of the keys decrypts the secret.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["find_webhook"], app_id, webhook_id)
        if row is None:
            return None
        return WebhookDestination(row["url"], self._cipher.decrypt_secret(row["secret"]))

    async def remove_webhook(
        self, app_id: str, webhook_id: UUID, publisher_id: UUID, now: datetime, actor: Actor
    ) -> bool:
        """Remove a webhook with its waiting messages. Returns False if the app has no such webhook."""
        async with self._database.transaction() as connection:
            url = await connection.fetchval(_SQL["remove_webhook"], app_id, webhook_id)
            if url is None:
                return False
            await connection.execute(_SQL["remove_messages"], app_id, webhook_id)
            entry = webhook_audit_entry(AuditAction.WEBHOOK_REMOVED, webhook_id, publisher_id, app_id, url)
            await audit.write_entries(connection, actor, now, entry)
            return True

    async def record_test(
        self,
        app_id: str,
        webhook_id: UUID,
        attempt: Attempt,
        publisher_id: UUID,
        now: datetime,
        actor: Actor,
    ) -> None:
        """Store the attempt of a test message. A successful test makes a failing or disabled webhook active."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                _SQL["record_test"],
                app_id,
                webhook_id,
                now,
                attempt.status,
                attempt.error,
                attempt.delivered,
            )
            if row is not None and row["enabled"]:
                entry = webhook_audit_entry(
                    AuditAction.WEBHOOK_ENABLED, webhook_id, publisher_id, app_id, row["url"]
                )
                await audit.write_entries(connection, actor, now, entry)

    async def rotate_key(self, connection: Connection, now: datetime, actor: Actor) -> Rotation:
        """Reencrypt, with the newest key, each secret that another key encrypted. Joins the caller's transaction.

        Raises:
            Conflict: None of the keys decrypts one of the secrets.
        """
        rows = await connection.fetch(_SQL["lock_secrets"])
        names = [f"webhook {row['webhook_id']}" for row in rows]
        reencrypted = reencrypt_old_secrets(self._cipher, [row["secret"] for row in rows], names)
        changed = [rows[index] for index in reencrypted]
        keys = [row["app_id"] for row in changed], [row["webhook_id"] for row in changed]
        await connection.execute(_SQL["store_secrets"], *keys, list(reencrypted.values()))
        await audit.write_entries(connection, actor, now, *map(_reencryption_entry, changed))
        return Rotation(len(rows), len(reencrypted))


def webhook_audit_entry(
    action: AuditAction, webhook_id: UUID, publisher_id: UUID, app_id: str, url: str
) -> AuditEntry:
    """Return the audit entry of a webhook. It names the host only: the path of a URL may be a secret."""
    return AuditEntry(
        action, str(webhook_id), publisher_id, {"app_id": app_id, "host": urlsplit(url).hostname or ""}
    )


def _reencryption_entry(row: asyncpg.Record) -> AuditEntry:
    return webhook_audit_entry(
        AuditAction.WEBHOOK_REENCRYPTED, row["webhook_id"], row["publisher_id"], row["app_id"], row["url"]
    )
