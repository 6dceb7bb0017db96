"""A run from beginning to end: set up, load and faults, quiet, comparison."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.cluster import IN_FLIGHT, Cluster, cluster
from chaos.evidence import gather
from chaos.faults import FAULTS, NODE_KILLED, Recovery, Schedule
from chaos.load import Load, waiting
from chaos.store import ChaosApi, ChaosStore
from chaos.verdict import ChaosVerdict, compare

_SMALL_APP = 60
_PLAYS = len(FAULTS) + 2
_POLL = 1.0


@dataclass(frozen=True, kw_only=True)
class ChaosPlan:
    """What is asked for.

    `seconds`: how long faults are played; every one is played once, and `kills` nodes are killed, however long
    that takes. `hold`: seconds a fault lasts. `drain`: seconds that the queue may take to become empty at the end
    without getting any shorter.
    """

    seed: int
    seconds: float
    kills: int
    fan_out: int
    hold: float
    nodes: int = 3
    drain: float = 180.0


def plan_of(minutes: float, seed: int, fan_out: int) -> ChaosPlan:
    """The plan of `make chaos`: 20 kills in three minutes, and two thirds of the time under some fault."""
    seconds = minutes * 60
    hold = max(1.0, min(15.0, seconds / _PLAYS * 0.66))
    return ChaosPlan(
        seed=seed, seconds=seconds, kills=max(1, round(minutes * 20 / 3)), fan_out=fan_out, hold=hold
    )


@dataclass
class Report:
    """What came of a run. `recoveries` by fault; `answers` to sends by HTTP status, 0 where there was none."""

    seed: int
    verdict: ChaosVerdict = field(default_factory=ChaosVerdict)
    recoveries: dict[str, Recovery] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    node_kills: int = 0
    node_ends: int = 0
    """Nodes that ended by themselves and were started again."""
    resumed: int = 0
    answers_at_risk: int = 0
    seconds: float = 0.0
    drain_seconds: float = 0.0

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        found = self.verdict.broken
        odd = {status: count for status, count in self.answers.items() if status not in (0, 202, 429, 503)}
        if odd:
            found.append(f"sends were answered with {odd}")
        silent = [name for name, one in self.recoveries.items() if one.seconds is None]
        if silent:
            found.append(f"no delivery after {', '.join(silent)}")
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        numbers = {name: value for name, value in asdict(self).items() if name != "verdict"}
        return {"ok": not self.broken, "broken": self.broken, **self.verdict.as_json(), **numbers}


async def run(plan: ChaosPlan, directory: Path, say: Callable[[str], None]) -> Report:
    """Play `plan` with all files in `directory`, which is new. `say` gets lines of progress."""
    began = time.monotonic()
    # One source of chance each, so that what is played, and in which order, does not depend on who comes first.
    places, people, events = (random.Random(f"{plan.seed} {name}") for name in ("places", "people", "events"))
    async with cluster(directory, plan.nodes, places) as running:
        api = ChaosApi(running, people)
        store = ChaosStore(running, api, people)
        apps = await store.open(plan.fan_out, _SMALL_APP)
        say(
            f"{plan.nodes} nodes, {plan.fan_out} + {_SMALL_APP} copies, after {time.monotonic() - began:.0f} s"
        )
        load = Load(running.postgres.url(), api, store, apps, people, plan.fan_out)
        schedule = Schedule(running, load, events, say, hold=plan.hold)
        report = Report(plan.seed, recoveries=schedule.recoveries)
        await _misbehave(plan, running, load, schedule, say)
        quiet = time.monotonic()
        await _drain(plan, running, load, say)
        report.drain_seconds = round(time.monotonic() - quiet, 1)
        _count(report, running, load)
        report.answers_at_risk = (await running.apns.statistics())["answers_at_risk"]
        windows = report.node_kills + plan.nodes * schedule.long_outages
        evidence = await gather(
            running.postgres.url(),
            running.apns,
            load.accepted,
            plan.fan_out,
            IN_FLIGHT * windows + report.answers_at_risk,
            load.cancelled,
        )
        report.verdict = compare(evidence)
    report.seconds = round(time.monotonic() - began, 1)
    return report


async def _misbehave(
    plan: ChaosPlan, running: Cluster, load: Load, schedule: Schedule, say: Callable[[str], None]
) -> None:
    """Load, faults and kills until the time is up, each fault was played, and enough nodes were killed."""
    working = asyncio.create_task(load.run())
    likely = max(plan.seconds, 2 * plan.hold * _PLAYS)
    killing = asyncio.create_task(schedule.kill_nodes(plan.kills, likely * 0.8 / plan.kills))
    began = time.monotonic()
    try:
        rounds = 0
        while not rounds or time.monotonic() - began + 2 * plan.hold * _PLAYS < plan.seconds:
            await _unless_failed(schedule.play_round(), working, killing)
            rounds += 1
            say(f"round {rounds}: {len(load.accepted)} pushes accepted, {time.monotonic() - began:.0f} s")
        await _unless_failed(asyncio.wait({killing}), working)
        await _unless_failed(asyncio.sleep(plan.seconds - (time.monotonic() - began)), working, killing)
    finally:
        for task in (working, killing):
            task.cancel()
        await asyncio.gather(working, killing, return_exceptions=True)


async def _unless_failed(work: Coroutine[Any, Any, Any], *others: asyncio.Task[None]) -> None:
    """Await `work`; the failure of another task is ours."""
    task = asyncio.ensure_future(work)
    try:
        pending: set[asyncio.Task[Any]] = {task, *others}
        while not task.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
    finally:
        task.cancel()


async def _drain(plan: ChaosPlan, running: Cluster, load: Load, say: Callable[[str], None]) -> None:
    """All nodes up, the operator at work: wait until the queue is empty, or does not move any more."""
    operator = asyncio.create_task(load.look_after_credentials())
    try:
        await asyncio.gather(*map(running.until_ready, running.nodes))
        least, moved = None, time.monotonic()
        while time.monotonic() - moved < plan.drain:
            left = await waiting(running.postgres.url())
            if left == 0:
                return
            if left is not None and (least is None or left < least):
                least, moved = left, time.monotonic()
            await asyncio.sleep(_POLL)
        say(f"the queue stands still; left of it: {least}")
    finally:
        operator.cancel()
        await asyncio.gather(operator, return_exceptions=True)


def _count(report: Report, running: Cluster, load: Load) -> None:
    report.answers = dict(load.answers)
    report.changes = dict(load.changes)
    report.resumed = load.resumed
    report.node_kills = sum(node.kills for node in running.nodes)
    report.node_ends = sum(node.starts - 1 - node.kills for node in running.nodes)
    killed = report.recoveries.setdefault(NODE_KILLED, Recovery())
    killed.played = report.node_kills
