from __future__ import annotations

import asyncio

import pytest

from tests.eventually import eventually, loop_turns


async def test_returns_the_first_truthy_value() -> None:
    values = iter([0, None, "", "ready", "late"])
    assert await eventually(lambda: next(values)) == "ready"


async def test_awaits_an_async_probe() -> None:
    values = iter([0, 3])

    async def probe() -> int:
        await asyncio.sleep(0)
        return next(values)

    assert await eventually(probe) == 3


async def test_an_exception_means_not_yet() -> None:
    names: list[str] = []
    asyncio.get_running_loop().call_later(0.02, names.append, "here")
    assert await eventually(lambda: names[0]) == "here"


async def test_the_deadline_shows_the_last_value() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.01 seconds; last value: \[\]"):
        await eventually(lambda: [], deadline_seconds=0.01)


async def test_the_deadline_shows_the_last_exception() -> None:
    with pytest.raises(AssertionError, match="last exception: KeyError"):
        await eventually(lambda: {}["absent"], deadline_seconds=0.01)


async def test_the_deadline_ends_a_probe_that_hangs() -> None:
    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(AssertionError, match="probe never returned"):
        await eventually(hang, deadline_seconds=0.01)


async def test_loop_turns_runs_what_is_ready() -> None:
    order: list[int] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: loop.call_soon(order.append, 2))
    await loop_turns(2)
    assert order == [2]
