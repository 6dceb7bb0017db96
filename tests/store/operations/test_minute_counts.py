"""Counts by minute: added up over nodes, summed to steps, deleted when they are old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from relay.store.database import Database
from relay.store.operations.minute_counts import MinuteCount, MinuteCountRepository

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DELIVERED, FAILED = ("delivered", ""), ("failed", "BadTopic")


async def test_nodes_add_to_one_minute(database: Database) -> None:
    minutes = MinuteCountRepository(database)
    await minutes.add_counts(NOON + timedelta(seconds=1), {DELIVERED: 3})
    await minutes.add_counts(NOON + timedelta(seconds=59), {FAILED: 1, DELIVERED: 4})
    await minutes.add_counts(NOON, {})
    assert await minutes.sum_counts(NOON, NOON + timedelta(minutes=1), 60) == [
        MinuteCount(NOON, "delivered", "", 7),
        MinuteCount(NOON, "failed", "BadTopic", 1),
    ]


async def test_minutes_are_summed_to_steps(database: Database) -> None:
    minutes = MinuteCountRepository(database)
    for number in range(-1, 13):
        await minutes.add_counts(NOON + timedelta(minutes=number), {DELIVERED: 1})
    steps = await minutes.sum_counts(NOON, NOON + timedelta(minutes=12), 300)
    assert [(step.at - NOON, step.count) for step in steps] == [
        (timedelta(minutes=0), 5),
        (timedelta(minutes=5), 5),
        (timedelta(minutes=10), 2),
    ]


async def test_old_minutes_are_deleted_the_oldest_first(database: Database) -> None:
    minutes = MinuteCountRepository(database)
    for number in range(5):
        await minutes.add_counts(NOON + timedelta(minutes=number), {DELIVERED: 1})
    assert await minutes.delete_counts_before(NOON + timedelta(minutes=3), at_most=2) == 2
    remaining = await minutes.sum_counts(NOON, NOON + timedelta(hours=1), 60)
    assert [count.at.minute for count in remaining] == [2, 3, 4]
    assert await minutes.delete_counts_before(NOON + timedelta(minutes=3)) == 1
    assert await minutes.delete_counts_before(NOON + timedelta(minutes=3)) == 0
