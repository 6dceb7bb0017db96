"""Who waits for a push to end: told at once, without a query for each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

import pytest

from relay.dispatch.completion import CompletionWaiter
from relay.store.database import Database
from relay.store.push.reports import PushReportRepository
from tests.eventually import eventually, nothing_happens_for

from .test_settling import Node, delivered

NEVER = 3600.0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pushes were asked for, by each query that was made."""
    made: list[int] = []
    find_ended_pushes = PushReportRepository.find_ended_pushes

    async def find_and_count(repository: PushReportRepository, wanted: Mapping[UUID, str]) -> set[UUID]:
        made.append(len(wanted))
        return await find_ended_pushes(repository, wanted)

    monkeypatch.setattr(PushReportRepository, "find_ended_pushes", find_and_count)
    return made


async def test_what_this_node_settles_is_told_at_once(database: Database, looks: list[int]) -> None:
    watch = CompletionWaiter(database, poll=NEVER)
    node = Node(database, on_ended=watch.settled)
    made = await node.put()
    waiting = asyncio.create_task(watch.wait_for_end("app", made, NEVER))
    [batch] = node.settler.open(await node.claim())
    await eventually(lambda: looks)  # it was not ended when it was looked at first
    node.settler.add(delivered(batch, 0, 1))
    await node.settled()
    assert not waiting.done(), "one of three is not settled"
    node.settler.add(delivered(batch, 2))
    async with asyncio.timeout(60):
        assert await waiting


async def test_what_others_settle_is_found(database: Database, looks: list[int]) -> None:
    watch, elsewhere = CompletionWaiter(database, poll=0.05), Node(database)
    made = await elsewhere.put()
    waiting = asyncio.create_task(watch.wait_for_end("app", made, NEVER))
    await eventually(lambda: looks)
    [batch] = elsewhere.settler.open(await elsewhere.claim())
    elsewhere.settler.add(delivered(batch))
    async with asyncio.timeout(60):
        assert await waiting


async def test_all_who_wait_are_served_by_one_query(database: Database, looks: list[int]) -> None:
    watch, node = CompletionWaiter(database, poll=0.5), Node(database)
    made = [await node.put() for _ in range(20)]
    waiting = [asyncio.create_task(watch.wait_for_end("app", one, NEVER)) for one in made * 3]
    await nothing_happens_for(1.2)  # beyond the looks that are due
    assert len(looks) <= 4, "at the start, and every half a second"
    assert looks[0] == len(made)
    watch.close()
    assert await asyncio.gather(*waiting) == [False] * 60


async def test_it_gives_up_in_time_and_then_looks_at_nothing(database: Database, looks: list[int]) -> None:
    watch, node = CompletionWaiter(database, poll=0.05), Node(database)
    made = await node.put()
    assert not await watch.wait_for_end("app", made, 0.2)
    await nothing_happens_for(0.2)  # a look that is under way ends
    before = len(looks)
    await nothing_happens_for(0.3)
    assert len(looks) == before
    assert not await watch.wait_for_end("app", made, 0.1)
