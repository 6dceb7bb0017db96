"""The queue of messages to webhooks: lease a webhook, read what is due, note what became of it, let go of what is old.

What is leased is a webhook, not a message: one node at a time sends to it, so that the bound on what it gets at once
holds over all nodes, and what is known of its health is written by one. A node that dies is not noticed by anybody: its
lease ends. What it had sent and not noted is sent again, under the same id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from relay.core.webhooks.health import Health
from relay.core.webhooks.messages import (
    Attempt,
    CopyName,
    EventType,
    completed_push_data,
    encode_message,
    ended_deliveries_data,
)
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.encryption import SecretCipher, UndecryptableSecret
from relay.store.operations import audit
from relay.store.operations.audit import RELAY, AuditAction
from relay.store.webhooks.webhooks import SEALED_FOR, entry
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_SQL = sql.load(__package__, "webhook_queue.sql")


@dataclass(slots=True, repr=False)
class LeasedWebhook:
    """A webhook that this node alone sends to. `secret` is None if none of our keys opens it."""

    app_id: str
    webhook_id: UUID
    publisher_id: UUID
    url: str
    secret: str | None
    health: Health


class Due(NamedTuple):
    """A message that is to be sent."""

    event_id: int
    message_id: str
    attempt: int
    body: bytes


@dataclass(slots=True)
class Round:
    """What became of messages that were sent at the same time; `put_off` are (event id, when it is due again).

    `last` is the attempt that is shown.
    """

    last: Attempt
    taken: list[int] = field(default_factory=list)
    put_off: list[tuple[int, datetime]] = field(default_factory=list)


class WebhookQueue:
    """Messages to all webhooks. `owner` is this node's lease."""

    def __init__(self, database: Database, secret_keys: tuple[str, ...], owner: UUID) -> None:
        self._database = database
        self._cipher = SecretCipher(secret_keys, SEALED_FOR)
        self._owner = owner

    async def claim(
        self, now: datetime, lease_end: datetime, healthy: int, failing: int
    ) -> list[LeasedWebhook]:
        """Lease webhooks that have something due: up to so many that take what they get, and so many that don't."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["claim"], now, self._owner, lease_end, healthy, failing)
        return [self._leased(row) for row in rows]

    def _leased(self, row: asyncpg.Record) -> LeasedWebhook:
        secret = None
        try:
            secret = self._cipher.decrypt_secret(row["secret"])
        except UndecryptableSecret:
            _log.error("no key in keys.credentials decrypts a webhook", webhook_id=str(row["webhook_id"]))
        health = Health(row["failures"], row["failing_since"])
        return LeasedWebhook(
            row["app_id"], row["webhook_id"], row["publisher_id"], row["url"], secret, health
        )

    async def due(self, webhook: LeasedWebhook, now: datetime, limit: int) -> list[Due]:
        """Up to `limit` messages of that webhook that are due, made from what is stored.

        Those about a push that is not kept any more are let go.
        """
        key = webhook.app_id, webhook.webhook_id
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["due"], *key, now, limit)
            data = await _data(connection, webhook.app_id, rows)
            if gone := [row["event_id"] for row in rows if row["event_id"] not in data]:
                await connection.execute(_SQL["take"], *key, gone)
        due = []
        for row in rows:
            if row["event_id"] in data:
                body = encode_message(row["type"], row["created_at"], data[row["event_id"]])
                due.append(Due(row["event_id"], str(row["message_id"]), row["attempt"], body))
        return due

    async def note(
        self,
        webhook: LeasedWebhook,
        ended: Round,
        health: Health,
        now: datetime,
        lease_end: datetime | None,
    ) -> bool:
        """Write what became of messages, and how the webhook is doing. Without `lease_end` it is handed back.

        False if the lease was lost, or the webhook removed: then its messages are written, and its health is not.
        """
        key = webhook.app_id, webhook.webhook_id
        async with self._database.transaction() as connection:
            if ended.taken:
                await connection.execute(_SQL["take"], *key, ended.taken)
            if ended.put_off:
                await connection.execute(_SQL["put_off"], *key, *map(list, zip(*ended.put_off, strict=True)))
            dropped = 0
            if health.disabled and await connection.fetchval(_SQL["own"], *key, self._owner):
                dropped = int((await connection.execute(_SQL["drop_all"], *key)).split()[-1])
            owned = await connection.fetchval(
                _SQL["note"],
                *key,
                self._owner,
                health.failures,
                health.failing_since,
                health.resume_at,
                now if health.disabled else None,
                now,
                ended.last.status,
                ended.last.error,
                dropped,
                lease_end,
            )
            if owned and health.disabled:
                disabled = entry(
                    AuditAction.WEBHOOK_DISABLED,
                    webhook.webhook_id,
                    webhook.publisher_id,
                    webhook.app_id,
                    webhook.url,
                )
                await audit.write_entries(connection, RELAY, now, disabled)
        return bool(owned)

    async def hand_back(self, webhook: LeasedWebhook | None = None) -> None:
        """Give up the lease of that webhook, or of all that this node has."""
        async with self._database.connection() as connection:
            if webhook is None:
                await connection.execute(_SQL["hand_back"], self._owner)
            else:
                key = webhook.app_id, webhook.webhook_id
                await connection.execute(_SQL["hand_back_one"], *key, self._owner)

    async def trim(self, oldest: datetime, waiting: int) -> int:
        """Give up messages from before `oldest`, and of each webhook the oldest beyond the number that may wait.

        Returns how many went.
        """
        async with self._database.connection() as connection:
            dropped: int = await connection.fetchval(_SQL["trim"], oldest, waiting)
        return dropped


async def _data(
    connection: Connection, app_id: str, rows: Sequence[asyncpg.Record]
) -> Mapping[int, dict[str, Any]]:
    """The data of each message, by its event id, as far as what it is about is still kept."""
    completed = [row for row in rows if row["type"] == EventType.PUSH_COMPLETED]
    pushes = await _pushes(connection, app_id, [row["push_id"] for row in completed])
    data = {row["event_id"]: pushes[row["push_id"]] for row in completed if row["push_id"] in pushes}
    others = [row for row in rows if row["type"] != EventType.PUSH_COMPLETED]
    names = await _names(connection, app_id, [number for row in others for number in row["installations"]])
    for row in others:
        copies = (names[number] for number in row["installations"] if number in names)
        data[row["event_id"]] = ended_deliveries_data(
            app_id, row["push_id"], row["outcome"], row["status"], row["reason"], copies
        )
    return data


async def _pushes(
    connection: Connection, app_id: str, push_ids: Sequence[UUID]
) -> Mapping[UUID, dict[str, Any]]:
    if not push_ids:
        return {}
    accepted = {}
    ended = defaultdict(list)
    for row in await connection.fetch(_SQL["completed"], app_id, push_ids):
        accepted[row["push_id"]] = row["created_at"], row["targets"], row["skipped"]
        if row["outcome"] is not None:
            ended[row["push_id"]].append((row["outcome"], row["reason"], row["count"]))
    return {
        push_id: completed_push_data(app_id, push_id, *facts, ended[push_id])
        for push_id, facts in accepted.items()
    }


async def _names(connection: Connection, app_id: str, numbers: Sequence[int]) -> Mapping[int, CopyName]:
    if not numbers:
        return {}
    rows = await connection.fetch(_SQL["copies"], app_id, numbers)
    return {row["id"]: CopyName(row["customer"], row["device"], row["alongside"]) for row in rows}
