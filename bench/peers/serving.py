"""The Python side of the senders' protocol: a line "run SECONDS" in, a line of JSON out."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvloop


@dataclass(frozen=True)
class Setup:
    """Where to send, and with what."""

    host: str
    port: int
    ca: str
    key_file: str
    key_id: str
    team_id: str
    topic: str
    payload: str
    pool: int
    batch: int
    """Pushes that share a payload; 1: each has its own."""
    connections: int


class Until:
    """A run's end. Falsy when it has come."""

    def __init__(self, seconds: float) -> None:
        self._at = time.perf_counter() + seconds

    def __bool__(self) -> bool:
        return time.perf_counter() < self._at


TimedRun = Callable[[Until], Awaitable[tuple[int, int]]]
"""Sends until then and waits for the answers; returns how many pushes were sent, and how many answered 200."""


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def serve(make: Callable[[Setup], Awaitable[TimedRun]]) -> None:
    """Answer the harness until it closes our standard input."""
    uvloop.run(_serve(make))


async def _serve(make: Callable[[Setup], Awaitable[TimedRun]]) -> None:
    run = await make(Setup(**json.loads(sys.argv[1])))
    _say({"ready": True})
    loop = asyncio.get_running_loop()
    # In a thread: the loop lives on between runs, so that timers run out when they should.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        until = Until(float(line.split()[1]))
        started, cpu = time.perf_counter(), cpu_seconds()
        sent, ok = await run(until)
        wall, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        _say({"sent": sent, "ok": ok, "wall": wall, "cpu": cpu})


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
