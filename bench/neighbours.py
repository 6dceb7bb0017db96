"""One bad neighbour harms nobody: single pushes of a quiet app, alone and beside all that others can do at once.

A broadcast to the largest app after another, 64 connections that flood with one push token, an app that Apple throttles
and one whose team has no credential.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.fan_out import broadcast, is_done
from bench.relay_process import BenchApi, RelayProcess
from bench.singles import Latency, latency_row, wrk_command
from bench.store import BenchStore
from bench.table import Row

RATE = 50.0
"""Pushes a second of the quiet app."""
ALONE = "POST to arrival of a quiet app, alone"
BESIDE = "POST to arrival of a quiet app, beside bad neighbours"
_LOOK = 0.2


def neighbour_rows(
    store: BenchStore, relay: RelayProcess, latency: Latency, *, seconds: float, runs: int
) -> Iterator[Row]:
    """Both rows, their runs in turn."""
    alone, beside = [], []
    for _ in range(runs):
        alone.append(latency.run(RATE, seconds))
        with _neighbours(store, relay, seconds):
            beside.append(latency.run(RATE, seconds))
    yield latency_row(ALONE, alone)
    yield latency_row(BESIDE, beside)


@contextmanager
def _neighbours(store: BenchStore, relay: RelayProcess, seconds: float) -> Iterator[None]:
    ended = threading.Event()
    broadcasting = threading.Thread(target=_broadcast, args=(store, relay.port, ended))
    flood = subprocess.Popen(
        wrk_command(relay.port, store.apps[0], seconds + 5),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    api = BenchApi(relay.port)
    for name in ("throttled", "without a credential"):
        broadcast(api, store.neighbours[name])
    api.close()
    broadcasting.start()
    try:
        yield
    finally:
        ended.set()
        flood.terminate()
        flood.wait()
        broadcasting.join()


def _broadcast(store: BenchStore, port: int, ended: threading.Event) -> None:
    """One after another until `ended`, and then to the end of the last one."""
    api, app = BenchApi(port), store.apps[-1]
    while not ended.is_set():
        push_id = broadcast(api, app)
        while not is_done(api, app, push_id):
            ended.wait(_LOOK)
    api.close()
