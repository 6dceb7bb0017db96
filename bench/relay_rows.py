"""The rows of the whole relay: real processes, a durable PostgreSQL and the sink, all on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, table
from bench.fan_out import fan_out_rows
from bench.machine import SCRATCH, MissingError
from bench.neighbours import BESIDE, neighbour_rows
from bench.population import BenchApp
from bench.postgres import BenchPostgres
from bench.relay_process import RelayProcess, write_settings
from bench.singles import Latency, accept_rows, latency_rows, single_rows
from bench.sink import Sink
from bench.store import BenchStore, build
from bench.table import Row


@dataclass(frozen=True)
class BenchPlan:
    """Rows to measure, their sizes, their number of runs, and the seconds of a run."""

    sizes: Sequence[int] = (10_000, 100_000, 1_000_000)
    runs: int = 5
    seconds: float = 5.0
    workers: int = 1
    rows: frozenset[str] = frozenset({"fan-out", "single", "accept", "latency", "neighbours"})


def relay_rows(sink: Sink, plan: BenchPlan) -> Iterator[Row]:
    """Yield the rows of the plan."""
    with BenchPostgres(SCRATCH / "postgres") as postgres:
        settings = SCRATCH / "relay.yaml"
        shared: dict[str, Any] = {"database": postgres.url, "ca": sink.ca}
        write_settings(settings, port=machine.free_port(), sink_port=sink.port, **shared)
        print("setting up the store …", file=sys.stderr, flush=True)
        store = build(postgres, settings, plan.sizes, neighbours="neighbours" in plan.rows)
        smallest = store.apps[0]
        rate = 0.0
        if plan.rows & {"fan-out", "single"}:
            with RelayProcess(settings, _workers(plan)) as relay:
                if "fan-out" in plan.rows:
                    yield from fan_out_rows(store, relay, postgres, sink, plan.runs)
                if "single" in plan.rows:
                    try:
                        for row in single_rows(
                            smallest, relay, postgres, sink, seconds=plan.seconds, runs=plan.runs
                        ):
                            rate = row.wall_per_s or 0.0
                            yield row
                    except (MissingError, RuntimeError) as error:
                        yield table.missing("single-destination sends", error)
        if "latency" in plan.rows:
            yield from _latency(plan, settings, shared, store.apps[0], rate)
        if "neighbours" in plan.rows:
            yield from _neighbours(plan, settings, shared, store, sink)
        if "accept" in plan.rows:  # the last row: its pushes stay in the queue
            try:
                write_settings(settings, port=machine.free_port(), sink_port=sink.port, **shared)
                with RelayProcess(settings, ["--api", *_workers(plan)]) as relay:
                    yield from accept_rows(smallest, relay, postgres, seconds=plan.seconds, runs=plan.runs)
            except (MissingError, RuntimeError) as error:
                yield table.missing("accept alone", error)


def _latency(
    plan: BenchPlan, settings: Path, shared: dict[str, Any], app: BenchApp, rate: float
) -> Iterator[Row]:
    port = machine.free_port()
    try:
        with Latency(app, port, shared["ca"].parent) as latency:
            write_settings(settings, port=port, sink_port=latency.port, **shared)
            with RelayProcess(settings, _workers(plan)):
                half = rate / 2 or 4_000.0
                yield from latency_rows(latency, half, seconds=plan.seconds, runs=plan.runs)
    except (MissingError, RuntimeError) as error:
        yield table.missing("POST to arrival at half load", error)


def _neighbours(
    plan: BenchPlan, settings: Path, shared: dict[str, Any], store: BenchStore, sink: Sink
) -> Iterator[Row]:
    port = machine.free_port()
    try:
        with Latency(store.neighbours["quiet"], port, shared["ca"].parent) as latency:
            write_settings(
                settings,
                port=port,
                sink_port=sink.throttling_port or sink.port,
                sandbox_port=latency.port,
                more={"limits": {}},  # as shipped: they are a part of what is measured
                **shared,
            )
            with RelayProcess(settings, _workers(plan)) as relay:
                yield from neighbour_rows(store, relay, latency, seconds=plan.seconds, runs=plan.runs)
    except (MissingError, RuntimeError) as error:
        yield table.missing(BESIDE, error)


def _workers(plan: BenchPlan) -> list[str]:
    return ["--workers", str(plan.workers)] if plan.workers > 1 else []
