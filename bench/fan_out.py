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

_LOOK = 0.01
_PATIENCE = 900.0


@dataclass(frozen=True)
class _Measured:
    wall: float
    accept: float
    relay_cpu: float
    postgres_cpu: float


def fan_out_rows(
    store: BenchStore, relay: RelayProcess, postgres: BenchPostgres, sink: Sink, runs: int
) -> Iterator[Row]:
    """A row for each app of the store, their runs in turn."""
    api = BenchApi(relay.port)
    taken: dict[int, list[_Measured]] = {app.size: [] for app in store.apps}
    _fan_out(api, store.apps[0], relay, postgres, sink)  # the first connects to APNs: not counted
    failed: dict[int, RuntimeError] = {}
    for _ in range(runs):
        for app in store.apps:
            if app.size not in failed:
                try:
                    taken[app.size].append(_fan_out(api, app, relay, postgres, sink))
                except RuntimeError as error:
                    failed[app.size] = error
    api.close()
    for size, own in taken.items():
        name = f"fan-out of a broadcast to {size:,}"
        if size in failed:
            yield table.missing(name, failed[size])
            continue
        yield table.measured(
            name,
            [size / one.wall for one in own],
            [size / one.relay_cpu for one in own if one.relay_cpu],
            accept_ms=round(statistics.median(one.accept for one in own) * 1000, 1),
            relay_cpu_s=round(sum(one.relay_cpu for one in own) / len(own), 2),
            postgres_cpu_s=round(sum(one.postgres_cpu for one in own) / len(own), 2),
        )
    largest = store.apps[-1].size
    peak = round(relay.peak_rss_mib())
    yield Row("relay, peak RSS", note=f"after {runs} broadcasts to {largest:,}", more={"peak_rss_mib": peak})


def _fan_out(
    api: BenchApi, app: BenchApp, relay: RelayProcess, postgres: BenchPostgres, sink: Sink
) -> _Measured:
    """One broadcast. Every device's push must be in the ledger as delivered and have arrived at the sink."""
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
    return _Measured(wall, accepted, relay.cpu_seconds() - cpu, postgres.cpu_seconds() - database_cpu)


def _await_arrivals(sink: Sink, count: int, started: float) -> None:
    """The cheap look: asking the relay for its counts while it works would be part of the work."""
    while (sink.arrivals() or 0) < count and time.perf_counter() - started < _PATIENCE:
        time.sleep(_LOOK)


def _await_done(api: BenchApi, app: BenchApp, push_id: str, started: float) -> int:
    while True:
        push = api.call("GET", f"/v1.0/pushes/{push_id}/", app.push_token)
        if push["state"] == "done":
            return int(push["counts"]["delivered"])
        elapsed = time.perf_counter() - started
        if elapsed > _PATIENCE:
            api.call("DELETE", f"/v1.0/pushes/{push_id}/", app.push_token)  # out of the way of the other rows
            raise RuntimeError(f"push {push_id} is not done after {elapsed:.0f} s: {push['counts']}")
        time.sleep(_LOOK)


def broadcast(api: BenchApi, app: BenchApp) -> str:
    """Send to all devices of an app; the push's id."""
    body = {"app_id": app.app_id, "payload": json.loads(PAYLOAD), "destinations": "all"}
    return str(api.call("POST", "/v1.0/send/", app.push_token, json.dumps(body).encode())["push_id"])


def is_done(api: BenchApi, app: BenchApp, push_id: str) -> bool:
    """Whether that push has come to an end."""
    return bool(api.call("GET", f"/v1.0/pushes/{push_id}/", app.push_token)["state"] == "done")
