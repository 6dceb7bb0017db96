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
    """The server, the credential, the topic and the payload of a sender."""

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
    """Pushes that share a payload. 1: each push has its own."""
    connections: int


class Until:
    """The end of a run. True until it is reached."""

    def __init__(self, seconds: float) -> None:
        self._at = time.perf_counter() + seconds

    def __bool__(self) -> bool:
        return time.perf_counter() < self._at


TimedRun = Callable[[Until], Awaitable[tuple[int, int]]]
"""A coroutine function that sends until the end and waits for the answers.

It returns the number of pushes sent and the number answered 200.
"""


def cpu_seconds() -> float:
    """Return user and system time of this process so far, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def serve(make: Callable[[Setup], Awaitable[TimedRun]]) -> None:
    """Answer lines of standard input until it is closed."""
    uvloop.run(_serve(make))


async def _serve(make: Callable[[Setup], Awaitable[TimedRun]]) -> None:
    run = await make(Setup(**json.loads(sys.argv[1])))
    _print_json({"ready": True})
    loop = asyncio.get_running_loop()
    # In a thread, so that the loop and its timers keep running between runs.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        until = Until(float(line.split()[1]))
        started, cpu = time.perf_counter(), cpu_seconds()
        sent, ok = await run(until)
        wall, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        _print_json({"sent": sent, "ok": ok, "wall": wall, "cpu": cpu})


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
