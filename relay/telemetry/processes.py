"""Shared metrics of several processes: their values are in files of one directory, which all of them read.

This is prometheus-client's multiprocess mode. An environment variable selects it when the library is imported, and
child processes inherit it. So the parent, which counts nothing itself, sets it before it starts them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.multiprocess import mark_process_dead

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared() -> Iterator[None]:
    """Let processes started in this context share their metrics. The files are removed at its end."""
    directory = tempfile.mkdtemp(prefix="push-relay-metrics-")
    previous = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = directory
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if previous is not None:
            os.environ[VARIABLE] = previous
        shutil.rmtree(directory, ignore_errors=True)


def forget(process_id: int) -> None:
    """Drop the gauges of a process that has ended. Its counters remain."""
    if VARIABLE in os.environ:
        mark_process_dead(process_id)  # type: ignore[no-untyped-call]
