"""The embedded PostgreSQL beside other users of its library on one machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from relay.store.embedded import EmbeddedPostgres, PostgresServer

HOLD = """
import sys, fasteners
with fasteners.InterProcessLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory outside pytest's: its parent is closed to other users whenever a run begins, also to PostgreSQL's."""
    with tempfile.TemporaryDirectory(prefix="push-relay-embedded-") as path:
        yield Path(path)


async def test_a_lock_of_another_user_does_not_delay_the_start(directory: Path) -> None:
    """The library's own lock is one file for the whole machine, which another user may hold or own."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(PostgresServer.lock_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    try:
        async with asyncio.timeout(120):
            server = await asyncio.to_thread(EmbeddedPostgres, directory / "postgres")
        connection = await asyncpg.connect(server.url())
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        await asyncio.to_thread(server.stop)
    finally:
        other.communicate()
