"""A run from beginning to end: set-up, load and faults, quiet, comparison."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.cluster import MAX_IN_FLIGHT, Cluster, cluster
from chaos.evidence import gather
from chaos.faults import FAULTS, NODE_KILLED, Recovery, Schedule
from chaos.load import Load, count_waiting
from chaos.store import ChaosApi, ChaosStore
from chaos.verdict import ChaosVerdict, compare

_SMALL_APP_COPIES = 60
_PLAYS_PER_ROUND = len(FAULTS) + 2
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ChaosPlan:
    """The size and length of a run.

    `seconds`: faults are played for this time, or longer until each was played once and `kills` nodes were killed.
    `hold`: seconds that a fault lasts. `drain`: seconds at the end after which a queue that gets no shorter is stuck.
    """

    seed: int
    seconds: float
    kills: int
    fan_out: int
    hold: float
    nodes: int = 3
    drain: float = 180.0


def plan_of(minutes: float, seed: int, fan_out: int) -> ChaosPlan:
    """Return the plan of `make chaos`: 20 kills in three minutes, and two thirds of the time under a fault."""
    seconds = minutes * 60
    hold = max(1.0, min(15.0, seconds / _PLAYS_PER_ROUND * 0.66))
    return ChaosPlan(
        seed=seed, seconds=seconds, kills=max(1, round(minutes * 20 / 3)), fan_out=fan_out, hold=hold
    )


@dataclass
class Report:
    """The result of a run. `recoveries` by fault, `answers` to sends by HTTP status with 0 for none."""

    seed: int
    verdict: ChaosVerdict = field(default_factory=ChaosVerdict)
    recoveries: dict[str, Recovery] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    node_kills: int = 0
    node_ends: int = 0
    """Nodes that ended by themselves and were restarted."""
    resumed: int = 0
    answers_at_risk: int = 0
    seconds: float = 0.0
    drain_seconds: float = 0.0

    @property
    def broken(self) -> list[str]:
        """The broken promises, each as a sentence."""
        broken = self.verdict.broken
        unexpected = {
            status: count for status, count in self.answers.items() if status not in (0, 202, 429, 503)
        }
        if unexpected:
            broken.append(f"sends were answered with {unexpected}")
        silent = [name for name, recovery in self.recoveries.items() if recovery.seconds is None]
        if silent:
            broken.append(f"no delivery after {', '.join(silent)}")
        return broken

    def as_json(self) -> dict[str, Any]:
        """Return the fields of verdict and report in one object for JSON."""
        numbers = {name: value for name, value in asdict(self).items() if name != "verdict"}
        return {"ok": not self.broken, "broken": self.broken, **self.verdict.as_json(), **numbers}


async def run(plan: ChaosPlan, directory: Path, say: Callable[[str], None]) -> Report:
    """Play `plan` with all files in the new `directory`, and return the report. `say` gets lines of progress."""
    began = time.monotonic()
    # Separate random sources: the faults and their order do not depend on the order in which tasks run.
    places, people, events = (random.Random(f"{plan.seed} {name}") for name in ("places", "people", "events"))
    async with cluster(directory, plan.nodes, places) as running:
        api = ChaosApi(running, people)
        store = ChaosStore(running, api, people)
        apps = await store.open(plan.fan_out, _SMALL_APP_COPIES)
        say(
            f"{plan.nodes} nodes, {plan.fan_out} + {_SMALL_APP_COPIES} copies, after {time.monotonic() - began:.0f} s"
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
            MAX_IN_FLIGHT * windows + report.answers_at_risk,
            load.cancelled,
        )
        report.verdict = compare(evidence)
    report.seconds = round(time.monotonic() - began, 1)
    return report


async def _misbehave(
    plan: ChaosPlan, running: Cluster, load: Load, schedule: Schedule, say: Callable[[str], None]
) -> None:
    """Play load, faults and kills until the time is up, each fault was played, and enough nodes were killed."""
    working = asyncio.create_task(load.run())
    likely = max(plan.seconds, 2 * plan.hold * _PLAYS_PER_ROUND)
    killing = asyncio.create_task(schedule.kill_nodes(plan.kills, likely * 0.8 / plan.kills))
    began = time.monotonic()
    try:
        rounds = 0
        while not rounds or time.monotonic() - began + 2 * plan.hold * _PLAYS_PER_ROUND < plan.seconds:
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
    """Await `work`. Raises the exception of another task that fails meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        pending: set[asyncio.Task[Any]] = {task, *others}
        while not task.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
    finally:
        task.cancel()


async def _drain(plan: ChaosPlan, running: Cluster, load: Load, say: Callable[[str], None]) -> None:
    """Wait until all nodes are ready and the queue is empty, or until it gets no shorter."""
    operator = asyncio.create_task(load.look_after_credentials())
    try:
        await asyncio.gather(*map(running.until_ready, running.nodes))
        least, moved = None, time.monotonic()
        while time.monotonic() - moved < plan.drain:
            left = await count_waiting(running.postgres.url())
            if left == 0:
                return
            if left is not None and (least is None or left < least):
                least, moved = left, time.monotonic()
            await asyncio.sleep(_POLL_SECONDS)
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
