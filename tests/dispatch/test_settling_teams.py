"""Settlement of batches for many teams: their answers come team by team, and are written a few times for all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from relay.core.delivery.plan import ClaimedBatch
from relay.dispatch.decisions import Decisions
from relay.dispatch.settlement import MAX_UNSETTLED
from relay.store.database import Database
from relay.store.push.records import DeliveryOutcome, Retry, TokenRetirement
from tests.dispatch.test_settling import NOW, THERE, Node
from tests.eventually import eventually, loop_turns

NEVER = 3_600.0
"""Seconds: longer than any test."""


class Ledger:
    """A node that settles one batch, and what its database holds of it."""

    def __init__(self, database: Database, settle_interval: float = NEVER) -> None:
        self.database = database
        self.ended: list[ClaimedBatch] = []
        self.node = Node(database, self.ended.extend, settle_interval)
        self.push = UUID(int=0)

    async def lease(self, installations: int) -> ClaimedBatch:
        self.push = await self.node.put(installations)
        [batch] = self.node.settler.open(await self.node.claim())
        return batch

    def end(
        self, batch: ClaimedBatch, installations: Sequence[int], outcome: str = "delivered", reason: str = ""
    ) -> None:
        """Add the answers to one team."""
        part = DeliveryOutcome(batch, outcome, 200, reason, list(installations))  # type: ignore[arg-type]
        self.node.settler.add(Decisions([part]))

    async def rows(self) -> list[tuple[str, str, int]]:
        """Return (outcome, reason, installations) of each row of the ledger."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT outcome, reason, cardinality(installations) FROM delivery WHERE push_id = $1 ORDER BY 1, 2",
                self.push,
            )
        return [tuple(row) for row in rows]

    async def queue(self) -> list[list[int]]:
        """Return the installations of each batch of the push that is in the queue."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT installations FROM batch WHERE push_id = $1 ORDER BY attempt", self.push
            )
        return [sorted(row[0]) for row in rows]


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


async def test_many_teams_have_one_row_for_each_outcome(ledger: Ledger) -> None:
    batch = await ledger.lease(100)
    for team in range(0, 100, 2):
        if team % 20:
            ledger.end(batch, [team, team + 1])
        else:
            ledger.end(batch, [team], "unregistered", "Unregistered")
            ledger.end(batch, [team + 1], "failed", "BadTopic")
    await ledger.node.settled()
    assert await ledger.rows() == [
        ("delivered", "", 90),
        ("failed", "BadTopic", 5),
        ("unregistered", "Unregistered", 5),
    ]
    assert await ledger.queue() == []
    assert ledger.ended == [batch]
    assert ledger.node.settler.in_flight == 0


async def test_nothing_is_written_before_the_batch_ends(ledger: Ledger) -> None:
    batch = await ledger.lease(10)
    for installation in range(9):
        ledger.end(batch, [installation])
    await loop_turns(5)
    assert ledger.node.settler._writing is None
    assert await ledger.rows() == []
    assert ledger.node.settler.in_flight == 10
    ledger.end(batch, [9])
    await ledger.node.settled()
    assert await ledger.rows() == [("delivered", "", 10)]


async def test_a_large_part_is_written_before_the_end(ledger: Ledger) -> None:
    """So a crash repeats no more than that. What ended since stays in the row, because it is not in the ledger."""
    batch = await ledger.lease(1_900)
    for first in range(0, MAX_UNSETTLED, 100):
        ledger.end(batch, range(first, first + 100))
    ledger.end(batch, range(1_000, 1_050))
    await ledger.node.settled()
    assert await ledger.rows() == [("delivered", "", MAX_UNSETTLED)]
    assert await ledger.queue() == [list(range(1_000, 1_900))]
    assert ledger.node.settler.in_flight == 900
    ledger.end(batch, range(1_050, 1_900))
    await ledger.node.settled()
    assert sum(row[2] for row in await ledger.rows()) == 1_900
    assert len(await ledger.rows()) == 2
    assert ledger.node.settler.in_flight == 0


async def test_a_part_is_written_when_its_time_has_come(database: Database) -> None:
    ledger = Ledger(database, settle_interval=0.05)
    batch = await ledger.lease(10)
    ledger.end(batch, [0, 1])
    ledger.end(batch, [2])
    await eventually(ledger.rows)
    await ledger.node.settled()
    assert await ledger.rows() == [("delivered", "", 3)]
    assert await ledger.queue() == [list(range(3, 10))]
    assert ledger.ended == []
    assert ledger.node.settler.in_flight == 7


async def test_retries_of_many_teams_are_one_batch(ledger: Ledger) -> None:
    batch = await ledger.lease(30)
    for team in range(10):
        ids = [3 * team, 3 * team + 1]
        due = NOW + timedelta(seconds=5 + team % 3)
        again = Retry(batch, 1, due, None, "ServiceUnavailable", ids)
        held = Retry(batch, 0, NOW + timedelta(seconds=2), team + 1, "CredentialSuspended", [3 * team + 2])
        ledger.node.settler.add(Decisions(again=[again, held]))
    await ledger.node.settled()
    queue = await ledger.queue()
    assert len(queue) == 11, "those that are held wait for their own credential each"
    assert queue[-1] == [number for number in range(30) if number % 3 != 2]
    async with ledger.database.connection() as connection:
        assert await connection.fetchval("SELECT due_at FROM batch WHERE attempt = 1") == NOW + timedelta(
            seconds=7
        )
    assert await ledger.rows() == []


async def test_what_is_put_back_for_fairness_keeps_its_own_time(ledger: Ledger) -> None:
    batch = await ledger.lease(4)
    for number in range(4):
        due = NOW + timedelta(seconds=1 + number)
        ledger.node.settler.add(Decisions(again=[Retry(batch, 0, due, None, "", [number])]))
    await ledger.node.settled()
    assert sorted(await ledger.queue()) == [[0], [1], [2], [3]]


async def test_closing_writes_what_has_ended_and_hands_back_the_rest(ledger: Ledger) -> None:
    batch = await ledger.lease(10)
    ledger.end(batch, [0, 1, 2])
    await ledger.node.settler.aclose()
    assert await ledger.rows() == [("delivered", "", 3)]
    assert [sorted(each.installations) for each in await ledger.node.claim(THERE)] == [list(range(3, 10))]


async def test_a_batch_that_is_let_go_is_counted_no_longer(ledger: Ledger) -> None:
    batch = await ledger.lease(10)
    ledger.end(batch, [0, 1, 2])
    ledger.node.settler.abandon([batch])
    assert ledger.node.settler.in_flight == 0
    ledger.end(batch, [3])
    await ledger.node.settler.aclose()
    assert await ledger.rows() == []


async def test_a_dead_token_is_retired_even_if_the_lease_was_lost(ledger: Ledger) -> None:
    batch = await ledger.lease(2)
    ledger.node.settler.abandon([batch])
    dead = TokenRetirement("app", 0, b"token", "Unregistered", NOW)
    part = DeliveryOutcome(batch, "unregistered", 410, "Unregistered", [0])  # type: ignore[arg-type]
    ledger.node.settler.add(Decisions([part], retirements=[dead]))
    assert ledger.node.settler._writing is not None
    await ledger.node.settled()
    assert await ledger.rows() == []
