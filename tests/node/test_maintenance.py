"""Maintenance: rows are kept for their time, also on a node whose clock is wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from relay.node import maintenance
from relay.node.maintenance import Maintenance
from relay.settings import Settings
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import COMMAND_LINE, AuditAction, AuditEntry


class Clock:
    """A clock that is `days` ahead of the machine's."""

    def __init__(self, days: float) -> None:
        self._ahead = timedelta(days=days)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


async def count_kept(database: Database, clock: Clock) -> tuple[int, int]:
    """Run a round, and return the number of idempotency keys and of entries of the audit log after it."""
    once = asyncio.Event()

    async def last() -> None:
        once.set()

    running = asyncio.create_task(Maintenance(database, Settings(), clock, last).run())
    async with asyncio.timeout(60):
        await once.wait()
    running.cancel()
    async with database.connection() as connection:
        keys = await connection.fetchval("SELECT count(*) FROM idempotency_key")
        return keys, await connection.fetchval("SELECT count(*) FROM audit")


async def test_a_clock_that_is_wrong_deletes_nothing_too_early(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_ROUND_PAUSE_SECONDS", 0.01)
    now = datetime.now(UTC)
    async with database.connection() as connection:
        for hours in (1, 23, 25):
            await connection.execute(
                "INSERT INTO idempotency_key VALUES ('app', $1, '', $2, '', $3)",
                bytes([hours]),
                uuid4(),
                now - timedelta(hours=hours),
            )
        for days in (1, 366):
            entry = AuditEntry(AuditAction.PUSH_CANCELLED, "a push")
            await audit.write_entries(connection, COMMAND_LINE, now - timedelta(days=days), entry)
    assert await count_kept(database, Clock(days=-3)) == (3, 2)
    assert await count_kept(database, Clock(days=800)) == (2, 1)
