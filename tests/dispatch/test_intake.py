"""The way in: what waits for a commit, and who waits for whom."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

import pytest

from relay.core.delivery.plan import ClaimedBatch, TargetGroup
from relay.core.errors import Unavailable
from relay.dispatch.backlog import Backlog
from relay.dispatch.intake import Intake
from relay.store.database import Database
from relay.store.push.records import DispatchContext, Lease
from tests.eventually import loop_turns
from tests.factories import make_push_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Elsewhere:
    """The dispatcher of a node that does not dispatch."""

    def lease(self, installations: int) -> Lease | None:
        return None

    def take(
        self, batches: list[ClaimedBatch], groups: list[list[TargetGroup]], about: DispatchContext | None
    ) -> None:
        raise AssertionError("nothing was leased")


@pytest.fixture
def intake(database: Database) -> Intake:
    ids = count(1)
    return Intake(database, Elsewhere(), lambda: next(ids), lambda: None, Backlog(1000), batch_size=2000)


async def test_a_push_to_one_does_not_wait_for_large_ones(intake: Intake) -> None:
    """Each of the large ones is a commit of its own; one of them at a time is on its way."""
    names = [f"c_{number}" for number in range(50_000)]
    ended = []

    async def send(number: int, customers: Sequence[str]) -> None:
        await intake.accept(make_push_request(number=number, customers=customers))
        ended.append(number)

    connected = [intake.accept(make_push_request(number=number, customers=names[:1])) for number in (10, 11)]
    await asyncio.gather(*connected)
    large = [asyncio.create_task(send(number, names)) for number in range(1, 6)]
    await loop_turns()
    await asyncio.gather(send(9, names[:1]), *large)
    assert ended.index(9) < 3, "it is committed beside the first of them, not after all"
    assert [number for number in ended if number != 9] == [1, 2, 3, 4, 5]
    await intake.aclose()


async def test_large_requests_that_wait_fill_nobody_elses_line(intake: Intake) -> None:
    names = [f"c_{number}" for number in range(50_000)]
    large = [
        asyncio.create_task(intake.accept(make_push_request(number=number, customers=names)))
        for number in range(1, 8)
    ]
    await loop_turns()
    assert await intake.accept(make_push_request(number=9, customers=names[:1]))
    ends = await asyncio.gather(*large, return_exceptions=True)
    assert isinstance(ends[-1], Unavailable), "there is an end to their own"
    assert not isinstance(ends[0], BaseException)
    await intake.aclose()


async def test_a_fault_of_ours_is_logged_by_its_type(
    intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with pytest.raises(Unavailable):
        await intake.accept(make_push_request(customers=["c_secret"], collapse_id="a\0b"))
    assert "pushes could not be stored" in caplog.text
    assert "CharacterNotInRepertoireError" in caplog.text
    assert "c_secret" not in caplog.text
    await intake.aclose()
