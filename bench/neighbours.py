"""Rows of single pushes of a quiet app, alone and beside bad neighbours.

The neighbours, all at once: broadcasts to the largest app one after another, 64 connections that flood with one push
token, an app that Apple throttles, and one whose team has no credential.
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

QUIET_PUSHES_PER_SECOND = 50.0
ALONE = "POST to arrival of a quiet app, alone"
BESIDE = "POST to arrival of a quiet app, beside bad neighbours"
_POLL_SECONDS = 0.2


def neighbour_rows(
    store: BenchStore, relay: RelayProcess, latency: Latency, *, seconds: float, runs: int
) -> Iterator[Row]:
    """Yield both rows. Their runs alternate."""
    alone, beside = [], []
    for _ in range(runs):
        alone.append(latency.run(QUIET_PUSHES_PER_SECOND, seconds))
        with _neighbours(store, relay, seconds):
            beside.append(latency.run(QUIET_PUSHES_PER_SECOND, seconds))
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
    """Send one broadcast after another until `ended` is set, and wait for the end of the last."""
    api, app = BenchApi(port), store.apps[-1]
    while not ended.is_set():
        push_id = broadcast(api, app)
        while not is_done(api, app, push_id):
            ended.wait(_POLL_SECONDS)
    api.close()
