"""The reading side of the outbox: lease a webhook, read its due messages, record their results, drop old ones.

A lease is on a webhook, not on a message: one node at a time sends to it. So the limit of messages on their way to it
holds over all nodes, and one node writes its health. When a node dies, its leases end by themselves. Messages that it
sent without recording the result are sent again under their old id.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg

from relay.core.webhooks.health import Health
from relay.core.webhooks.messages import encode_message
from relay.store import sql
from relay.store.database import Database
from relay.store.encryption import SecretCipher, UndecryptableSecret
from relay.store.operations import audit
from relay.store.operations.audit import RELAY, AuditAction
from relay.store.webhooks.message_data import read_message_data
from relay.store.webhooks.records import DueMessage, LeasedWebhook, RoundResult
from relay.store.webhooks.webhooks import CIPHER_PURPOSE, webhook_audit_entry
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_SQL = sql.load(__package__, "webhook_queue.sql")


class WebhookQueueRepository:
    """The messages to all webhooks. `owner` is the id of the node that leases.

    Every method raises Unavailable while the database is away.
    """

    def __init__(self, database: Database, secret_keys: tuple[str, ...], owner: UUID) -> None:
        self._database = database
        self._cipher = SecretCipher(secret_keys, CIPHER_PURPOSE)
        self._owner = owner

    async def lease_webhooks(
        self, now: datetime, lease_end: datetime, max_healthy: int, max_failing: int
    ) -> list[LeasedWebhook]:
        """Lease webhooks with due messages: up to `max_healthy`, and up to `max_failing` whose last attempts failed."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _SQL["lease_webhooks"], now, self._owner, lease_end, max_healthy, max_failing
            )
        return [self._leased_webhook(row) for row in rows]

    async def read_due_messages(self, webhook: LeasedWebhook, now: datetime, limit: int) -> list[DueMessage]:
        """Return up to `limit` due messages of a webhook. Messages about pushes past the retention are dropped."""
        key = webhook.app_id, webhook.webhook_id
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_due_messages"], *key, now, limit)
            data_by_event = await read_message_data(connection, webhook.app_id, rows)
            if expired := [row["event_id"] for row in rows if row["event_id"] not in data_by_event]:
                await connection.execute(_SQL["remove_messages"], *key, expired)
        return [
            DueMessage(
                row["event_id"],
                str(row["message_id"]),
                row["attempt"],
                encode_message(row["type"], row["created_at"], data_by_event[row["event_id"]]),
            )
            for row in rows
            if row["event_id"] in data_by_event
        ]

    async def record_results(
        self,
        webhook: LeasedWebhook,
        result: RoundResult,
        health: Health,
        now: datetime,
        lease_end: datetime | None,
    ) -> bool:
        """Write the results of messages, and the health of their webhook. Without `lease_end` the lease ends.

        Returns False if the lease was lost or the webhook was removed: the results are written, its health is not.
        """
        key = webhook.app_id, webhook.webhook_id
        async with self._database.transaction() as connection:
            if result.taken:
                await connection.execute(_SQL["remove_messages"], *key, result.taken)
            if result.put_off:
                columns = map(list, zip(*result.put_off, strict=True))
                await connection.execute(_SQL["postpone_messages"], *key, *columns)
            dropped = 0
            if health.disabled and await connection.fetchval(_SQL["lock_lease"], *key, self._owner):
                status = await connection.execute(_SQL["remove_all_messages"], *key)
                dropped = int(status.split()[-1])
            owned = await connection.fetchval(
                _SQL["record_health"],
                *key,
                self._owner,
                health.failures,
                health.failing_since,
                health.resume_at,
                now if health.disabled else None,
                now,
                result.last.status,
                result.last.error,
                dropped,
                lease_end,
            )
            if owned and health.disabled:
                entry = webhook_audit_entry(
                    AuditAction.WEBHOOK_DISABLED,
                    webhook.webhook_id,
                    webhook.publisher_id,
                    webhook.app_id,
                    webhook.url,
                )
                await audit.write_entries(connection, RELAY, now, entry)
        return bool(owned)

    async def release_webhook(self, webhook: LeasedWebhook) -> None:
        """End the lease of a webhook."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["release_webhook"], webhook.app_id, webhook.webhook_id, self._owner)

    async def release_webhooks(self) -> None:
        """End all leases of this node."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["release_webhooks"], self._owner)

    async def drop_old_messages(self, oldest: datetime, max_waiting: int) -> int:
        """Drop messages from before `oldest`, and the oldest of each webhook beyond `max_waiting`.

        Returns the number dropped.
        """
        async with self._database.connection() as connection:
            dropped: int = await connection.fetchval(_SQL["drop_old_messages"], oldest, max_waiting)
        return dropped

    def _leased_webhook(self, row: asyncpg.Record) -> LeasedWebhook:
        secret = None
        try:
            secret = self._cipher.decrypt_secret(row["secret"])
        except UndecryptableSecret:
            _log.error("no key in keys.credentials decrypts a webhook", webhook_id=str(row["webhook_id"]))
        health = Health(row["failures"], row["failing_since"])
        return LeasedWebhook(
            row["app_id"], row["webhook_id"], row["publisher_id"], row["url"], secret, health
        )
