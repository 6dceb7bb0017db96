"""Fan-out: one broadcast to all devices of an app, from the POST to state "done"."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench import table
from bench.population import BenchApp
from bench.postgres import BenchPostgres
from bench.relay_process import BenchApi, RelayProcess
from bench.sink import Sink
from bench.store import BenchStore
from bench.table import Row
from bench.work import PAYLOAD

_POLL_SECONDS = 0.01
_PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class _FanOutRun:
    """One fan-out: seconds to its end and to its 202, and CPU seconds of the relay and of PostgreSQL."""

    wall: float
    accept: float
    relay_cpu: float
    postgres_cpu: float


def fan_out_rows(
    store: BenchStore, relay: RelayProcess, postgres: BenchPostgres, sink: Sink, runs: int
) -> Iterator[Row]:
    """Yield a row for each app of the store. The runs of the apps alternate."""
    api = BenchApi(relay.port)
    runs_by_size: dict[int, list[_FanOutRun]] = {app.size: [] for app in store.apps}
    _fan_out(api, store.apps[0], relay, postgres, sink)  # the first run connects to the sink: not counted
    failed: dict[int, RuntimeError] = {}
    for _ in range(runs):
        for app in store.apps:
            if app.size not in failed:
                try:
                    runs_by_size[app.size].append(_fan_out(api, app, relay, postgres, sink))
                except RuntimeError as error:
                    failed[app.size] = error
    api.close()
    for size, size_runs in runs_by_size.items():
        name = f"fan-out of a broadcast to {size:,}"
        if size in failed:
            yield table.missing(name, failed[size])
            continue
        yield table.measured(
            name,
            [size / run.wall for run in size_runs],
            [size / run.relay_cpu for run in size_runs if run.relay_cpu],
            accept_ms=round(statistics.median(run.accept for run in size_runs) * 1000, 1),
            relay_cpu_s=round(sum(run.relay_cpu for run in size_runs) / len(size_runs), 2),
            postgres_cpu_s=round(sum(run.postgres_cpu for run in size_runs) / len(size_runs), 2),
        )
    largest = store.apps[-1].size
    peak = round(relay.peak_rss_mib())
    yield Row("relay, peak RSS", note=f"after {runs} broadcasts to {largest:,}", more={"peak_rss_mib": peak})


def _fan_out(
    api: BenchApi, app: BenchApp, relay: RelayProcess, postgres: BenchPostgres, sink: Sink
) -> _FanOutRun:
    """Measure one broadcast. Raises RuntimeError unless every device's push is delivered and has arrived."""
    before, cpu, database_cpu = sink.arrivals(), relay.cpu_seconds(), postgres.cpu_seconds()
    started = time.perf_counter()
    push_id = broadcast(api, app)
    accepted = time.perf_counter() - started
    if before is not None:
        _await_arrivals(sink, before + app.size, started)
    delivered = _await_done(api, app, push_id, started)
    wall = time.perf_counter() - started
    if delivered != app.size:
        raise RuntimeError(f"fan-out to {app.size}: {delivered} were delivered")
    arrived = sink.arrivals()
    if before is not None and arrived != before + app.size:
        raise RuntimeError(f"fan-out to {app.size}: {(arrived or 0) - before} arrived")
    return _FanOutRun(wall, accepted, relay.cpu_seconds() - cpu, postgres.cpu_seconds() - database_cpu)


def _await_arrivals(sink: Sink, count: int, started: float) -> None:
    """Wait for `count` arrivals at the sink. Asking the relay meanwhile would add to the work that is measured."""
    while (sink.arrivals() or 0) < count and time.perf_counter() - started < _PATIENCE_SECONDS:
        time.sleep(_POLL_SECONDS)


def _await_done(api: BenchApi, app: BenchApp, push_id: str, started: float) -> int:
    while True:
        push = api.call("GET", f"/v1.0/pushes/{push_id}/", app.push_token)
        if push["state"] == "done":
            return int(push["counts"]["delivered"])
        elapsed = time.perf_counter() - started
        if elapsed > _PATIENCE_SECONDS:
            # Cancelled, so that it does not slow the other rows.
            api.call("DELETE", f"/v1.0/pushes/{push_id}/", app.push_token)
            raise RuntimeError(f"push {push_id} is not done after {elapsed:.0f} s: {push['counts']}")
        time.sleep(_POLL_SECONDS)


def broadcast(api: BenchApi, app: BenchApp) -> str:
    """Send to all devices of an app, and return the id of the push."""
    body = {"app_id": app.app_id, "payload": json.loads(PAYLOAD), "destinations": "all"}
    return str(api.call("POST", "/v1.0/send/", app.push_token, json.dumps(body).encode())["push_id"])


def is_done(api: BenchApi, app: BenchApp, push_id: str) -> bool:
    """Return whether the push has ended."""
    return bool(api.call("GET", f"/v1.0/pushes/{push_id}/", app.push_token)["state"] == "done")
