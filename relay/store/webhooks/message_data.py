"""The data of messages, read when they are sent: a message in the outbox holds ids and numbers only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from relay.core.ids import AppId
from relay.core.webhooks.messages import CopyName, EventType, completed_push_data, ended_deliveries_data
from relay.store import sql
from relay.store.database import Connection

_SQL = sql.load(__package__, "message_data.sql")


async def read_message_data(
    connection: Connection, app_id: AppId, messages: Sequence[asyncpg.Record]
) -> Mapping[int, dict[str, Any]]:
    """Return the data of rows of the outbox by event id, except those about pushes past the retention."""
    completed = [message for message in messages if message["type"] == EventType.PUSH_COMPLETED]
    push_data = await _read_completed_pushes(
        connection, app_id, [message["push_id"] for message in completed]
    )
    data = {
        message["event_id"]: push_data[message["push_id"]]
        for message in completed
        if message["push_id"] in push_data
    }
    others = [message for message in messages if message["type"] != EventType.PUSH_COMPLETED]
    installation_ids = [number for message in others for number in message["installations"]]
    names = await _read_copy_names(connection, app_id, installation_ids)
    for message in others:
        copies = (names[number] for number in message["installations"] if number in names)
        data[message["event_id"]] = ended_deliveries_data(
            app_id, message["push_id"], message["outcome"], message["status"], message["reason"], copies
        )
    return data


async def _read_completed_pushes(
    connection: Connection, app_id: AppId, push_ids: Sequence[UUID]
) -> Mapping[UUID, dict[str, Any]]:
    if not push_ids:
        return {}
    facts_by_push = {}
    counts_by_push = defaultdict(list)
    for row in await connection.fetch(_SQL["find_completed_pushes"], app_id, push_ids):
        facts_by_push[row["push_id"]] = row["created_at"], row["targets"], row["skipped"]
        if row["outcome"] is not None:
            counts_by_push[row["push_id"]].append((row["outcome"], row["reason"], row["count"]))
    return {
        push_id: completed_push_data(app_id, push_id, *facts, counts_by_push[push_id])
        for push_id, facts in facts_by_push.items()
    }


async def _read_copy_names(
    connection: Connection, app_id: AppId, installation_ids: Sequence[int]
) -> Mapping[int, CopyName]:
    if not installation_ids:
        return {}
    rows = await connection.fetch(_SQL["find_copy_names"], app_id, installation_ids)
    return {row["id"]: CopyName(row["customer"], row["device"], row["alongside"]) for row in rows}
