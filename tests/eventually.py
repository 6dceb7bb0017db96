"""Waiting in tests: for a condition, for a turn of the event loop, or to prove that nothing happens.

A test never sleeps for a guessed time until something should have happened: a busy machine makes every guess wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar

Value = TypeVar("Value")

DEADLINE_SECONDS = 60.0
"""Generous, because a busy machine is no failure: only a test that fails waits this long."""
POLL_SECONDS = 0.005


async def eventually(
    probe: Callable[[], Value | Awaitable[Value]],
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
    poll_seconds: float = POLL_SECONDS,
) -> Value:
    """Return the first truthy value of `probe`, which is a callable or an async callable, called every few ms.

    An exception of `probe` counts as "not yet", so a probe may assert, index a list or read a file.

    Raises: AssertionError with the last value or exception of `probe` after `deadline_seconds`.
    """
    ends_at = time.monotonic() + deadline_seconds
    seen = "probe never returned"
    cause: Exception | None = None
    while True:
        try:
            async with asyncio.timeout(max(ends_at - time.monotonic(), 0)) as limit:
                value = probe()
                if isawaitable(value):
                    value = await value
            if value:
                return value
            seen, cause = f"last value: {value!r}", None
        except Exception as error:
            if not limit.expired():
                seen, cause = f"last exception: {error!r}", error
        if time.monotonic() >= ends_at:
            raise AssertionError(f"not within {deadline_seconds:g} seconds; {seen}") from cause
        await asyncio.sleep(poll_seconds)


async def nothing_happens_for(seconds: float) -> None:
    """Let `seconds` pass in which a fault would show itself. The caller then asserts that nothing happened."""
    await asyncio.sleep(seconds)


async def loop_turns(count: int = 1) -> None:
    """Let the event loop run what is ready, `count` times over."""
    for _ in range(count):
        await asyncio.sleep(0)
