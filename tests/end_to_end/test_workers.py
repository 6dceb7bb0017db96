"""`push-relay serve --workers 2`: two processes share a port and the work, and a dead one is replaced."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from apns_standin import ApnsStandIn
from relay.node.clock import SystemClock
from relay.settings import HttpSettings, Settings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from tests.eventually import eventually

from .process import scattered, serving, worker_is_replaced, workers
from .store import Store


async def start(settings: Settings, file: Path) -> Process:
    file.write_text(yaml.safe_dump(msgspec.to_builtins(settings)))
    command = [sys.executable, "-m", "relay", "serve", "--workers", "2", "--config", str(file)]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE)


@pytest.mark.slow
async def test_a_dead_worker_is_replaced_and_no_push_is_lost(
    settings: Settings, apns: ApnsStandIn, database: Database, tmp_path: Path
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    process = await start(settings, tmp_path / "relay.yaml")
    async with serving(process) as url:
        async with scattered(url) as session:
            store = Store(session, apns, token)
            app = await store.app()
            copies = [await store.copy(app, "anna", f"a{n}") for n in range(3)]
            before = workers(process)
            assert len(before) == 2
            assert (await store.push(app, {copies[0].customer: []}))["counts"]["delivered"] == 3

            before[0].kill()
            await eventually(lambda: worker_is_replaced(process, before[0]))
            for _ in range(4):
                assert (await store.push(app, {copies[0].customer: []}))["counts"]["delivered"] == 3
        assert await store.received(*copies) == [5] * 3

        # Another relay must not share the port by mistake: it exits at once.
        taken = msgspec.structs.replace(settings, http=HttpSettings(port=urlsplit(url).port or 0))
        second = await start(taken, tmp_path / "second.yaml")
        assert await second.wait() == 2

        left = workers(process)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(90):
            assert await process.wait() == 0
        assert not any(worker.is_running() for worker in left)
