"""The rows of pushes to one destination each: from 64 connections, accepted only, and at half load."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, table
from bench.machine import PEERS, SCRATCH, program
from bench.population import BenchApp
from bench.postgres import BenchPostgres
from bench.relay_process import RelayProcess
from bench.senders import build_go
from bench.sink import Sink
from bench.table import Row
from bench.work import PAYLOAD

CONNECTIONS = 64
_PATIENCE_SECONDS = 120.0
_PUSHES = "SELECT count(*) FROM push WHERE app_id = $1"
_DELIVERED = """
SELECT coalesce(sum(cardinality(installations)), 0) FROM delivery WHERE app_id = $1 AND outcome = 'delivered'
"""


@dataclass(frozen=True)
class _Load:
    """Figures of a run of wrk."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float


def wrk_command(port: int, app: BenchApp, seconds: float) -> list[str]:
    """Return the command of 64 connections, each of which posts as soon as it is answered. Raises MissingError."""
    bodies = SCRATCH / f"bodies-{app.size}"
    payload = json.loads(PAYLOAD)
    bodies.write_text(
        "".join(
            json.dumps({"app_id": app.app_id, "payload": payload, "destinations": {customer: []}}) + "\n"
            for customer in app.customers
        )
    )
    command = [program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
    command += [
        "-s",
        str(PEERS / "send.lua"),
        f"http://127.0.0.1:{port}",
        "--",
        str(bodies),
        app.push_token,
    ]
    return command


def _load(relay: RelayProcess, app: BenchApp, seconds: float) -> _Load:
    command = wrk_command(relay.port, app, seconds)
    for _ in range(5):  # a run is empty if the machine stands still for seconds
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        result = re.search(r"RESULT (\{.*\})", done.stdout)
        if result is None:
            raise RuntimeError(f"wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        load = _Load(**json.loads(result[1]))
        if load.refused or load.broken:
            raise RuntimeError(f"not every push was accepted: {load}")
        if load.requests:
            return load
    raise RuntimeError("nothing was answered")


def single_rows(
    app: BenchApp, relay: RelayProcess, postgres: BenchPostgres, sink: Sink, *, seconds: float, runs: int
) -> Iterator[Row]:
    """Yield the row of pushes accepted, sent, answered and settled. A run ends when its last push is in the ledger."""
    rates, cpus, database_cpu, answers = [], [], 0.0, []
    for number in range(runs + 1):
        before, arrived = postgres.value(_PUSHES, app.app_id), sink.arrivals()
        delivered = postgres.value(_DELIVERED, app.app_id)
        cpu, pg_cpu = relay.cpu_seconds(), postgres.cpu_seconds()
        load = _load(relay, app, seconds if number else 1)
        ended = time.perf_counter()
        # wrk ends with answers outstanding, so the number of pushes is read from the table.
        accepted = 0
        while accepted < (accepted := postgres.value(_PUSHES, app.app_id) - before) or postgres.value(
            "SELECT count(*) FROM batch"
        ):
            if time.perf_counter() - ended > _PATIENCE_SECONDS:
                raise RuntimeError("the queue is not worked off")
            time.sleep(0.02)
        wall = load.seconds + time.perf_counter() - ended
        settled = postgres.value(_DELIVERED, app.app_id) - delivered
        arrivals = (sink.arrivals() or 0) - arrived if arrived is not None else accepted
        if not accepted == settled == arrivals:
            raise RuntimeError(f"{accepted} accepted, {settled} in the ledger, {arrivals} arrived")
        if number:  # the first run warms up
            rates.append(accepted / wall)
            cpus.append(accepted / (relay.cpu_seconds() - cpu))
            database_cpu += (postgres.cpu_seconds() - pg_cpu) / accepted
            answers.append(load)
    yield table.measured(
        f"single-destination sends, {CONNECTIONS} connections",
        rates,
        cpus,
        p50_ms=statistics.median(load.p50_ms for load in answers),
        p99_ms=statistics.median(load.p99_ms for load in answers),
        of="to the 202",
        postgres_cpu_us=round(database_cpu / runs * 1e6),
    )


def accept_rows(
    app: BenchApp, relay: RelayProcess, postgres: BenchPostgres, *, seconds: float, runs: int
) -> Iterator[Row]:
    """Yield the row of 202s a second of a relay that does not dispatch."""
    rates, cpus, answers = [], [], []
    for number in range(runs + 1):
        before, cpu = postgres.value(_PUSHES, app.app_id), relay.cpu_seconds()
        load = _load(relay, app, seconds if number else 1)
        cpu = relay.cpu_seconds() - cpu
        stored = postgres.value(_PUSHES, app.app_id) - before
        if stored < load.requests:
            raise RuntimeError(f"{load.requests} were accepted and {stored} are stored")
        if number:
            rates.append(load.requests / load.seconds)
            cpus.append(load.requests / cpu)
            answers.append(load)
    yield table.measured(
        f"accept alone, {CONNECTIONS} connections",
        rates,
        cpus,
        p50_ms=statistics.median(load.p50_ms for load in answers),
        p99_ms=statistics.median(load.p99_ms for load in answers),
        of="to the 202",
    )


class Latency:
    """The Go program that posts at a steady rate and is the sink as well. A context manager, which ends it."""

    def __init__(self, app: BenchApp, relay_port: int, certificates: Path) -> None:
        self.port = machine.free_port()
        argument = {
            "port": self.port,
            "relay": f"127.0.0.1:{relay_port}",
            "certificate": str(certificates / "server.pem"),
            "key": str(certificates / "server.key"),
            "token": app.push_token,
            "app_id": app.app_id,
            "payload": PAYLOAD.decode(),
            "destinations": app.customers,
            "connections": CONNECTIONS,
            "warmup": 1.0,
        }
        # In a file: the destinations are too long for an argument.
        path = SCRATCH / "latency.json"
        path.write_text(json.dumps(argument))
        self._process = subprocess.Popen(
            [str(build_go("latency")), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(SCRATCH / "latency.log").open("wb"),
            text=True,
        )
        self._read()

    def run(self, rate: float, seconds: float) -> dict[str, Any]:
        """Post `rate` pushes a second for `seconds`, and return the figures of the sink."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"run {rate} {seconds}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the latency program ended; see {SCRATCH / 'latency.log'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Latency:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def latency_rows(latency: Latency, rate: float, *, seconds: float, runs: int) -> Iterator[Row]:
    """Yield the row of the time from POST to arrival at `rate` pushes a second."""
    yield latency_row("POST to arrival at half load", [latency.run(rate, seconds) for _ in range(runs)])


def latency_row(name: str, runs: Sequence[dict[str, Any]]) -> Row:
    """Return a row of the sink's figures of several runs. Raises RuntimeError if a push did not arrive."""
    for run in runs:
        if run["refused"] or run["arrived"] != run["accepted"]:
            raise RuntimeError(f"not every push arrived: {run}")
    return table.measured(
        name,
        [run["rate"] for run in runs],
        [],
        p50_ms=round(statistics.median(run["p50_ms"] for run in runs), 2),
        p99_ms=round(statistics.median(run["p99_ms"] for run in runs), 2),
        max_ms=round(max(run["max_ms"] for run in runs), 1),
    )
