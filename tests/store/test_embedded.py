"""The embedded PostgreSQL, as several users of a machine have it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg

from relay.store.embedded import EmbeddedPostgres, PostgresServer

HOLD = """
import sys, fasteners
with fasteners.InterProcessLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_it_waits_for_nobody_elses(tmp_path: Path) -> None:
    """The library's own lock is one file for the whole machine; another user may have it, or own it."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(PostgresServer.lock_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    try:
        async with asyncio.timeout(120):
            server = await asyncio.to_thread(EmbeddedPostgres, tmp_path / "postgres")
        connection = await asyncpg.connect(server.url())
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        await asyncio.to_thread(server.stop)
    finally:
        other.communicate()
