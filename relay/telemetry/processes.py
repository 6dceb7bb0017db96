"""Metrics of several processes that answer as one: their values are in files in a directory that all of them read.

That is prometheus-client's multiprocess mode. Which mode it is in is decided when it is imported, by an environment
variable that children inherit; so the parent, which counts nothing itself, sets it before it starts them.
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
    """Processes that are started meanwhile share their metrics. The files are removed at the end."""
    directory = tempfile.mkdtemp(prefix="push-relay-metrics-")
    former = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = directory
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if former is not None:
            os.environ[VARIABLE] = former
        shutil.rmtree(directory, ignore_errors=True)


def forget(process_id: int) -> None:
    """A process has ended: what it had open counts no more. What it has counted still does."""
    if VARIABLE in os.environ:
        mark_process_dead(process_id)  # type: ignore[no-untyped-call]
