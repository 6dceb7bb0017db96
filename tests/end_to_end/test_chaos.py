"""A short run of `make chaos`: three nodes, each fault once, one kill of each kind."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest

from chaos.faults import FAULTS, POSTGRES_KILLED, POSTGRES_RESTARTED
from chaos.run import ChaosPlan, run


@pytest.mark.slow
def test_no_push_is_lost() -> None:
    plan = ChaosPlan(seed=4, seconds=1.0, kills=1, fan_out=1000, hold=0.5)
    # Not pytest's directory: PostgreSQL may run as another user, who has to get there.
    directory = Path(tempfile.mkdtemp(prefix="push-relay-chaos-"))
    try:
        # A loop of its own, as `python -m chaos` has.
        report = asyncio.run(run(plan, directory / "run", print))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    assert report.broken == []
    assert report.verdict.delivered > 0
    assert report.node_kills == 1
    assert {fault.kind for fault in FAULTS} | {POSTGRES_KILLED, POSTGRES_RESTARTED} <= set(report.recoveries)
