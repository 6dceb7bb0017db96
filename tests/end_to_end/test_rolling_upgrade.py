"""Rolling upgrade from the first version: its schema and data, and nodes of both versions side by side.

The wheel in `versions/` is the unchanged first version. Every later version must work beside it, or give the reason in
its migration.
"""

from __future__ import annotations

import asyncio
import os
import sys
import zipfile
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import pytest
import yaml

from apns_standin import ApnsStandIn
from relay.node.main import Relay
from relay.settings import Settings
from relay.store.migrations import list_migrations

from .process import serving
from .store import Store

_WHEEL = Path(__file__).parent / "versions" / "push_relay-0.1.0-py3-none-any.whl"
_SECTIONS = ("database", "apns", "keys", "dispatch")
"""Sections of the settings that the first version has too."""
_LATER = (
    ("keys", "alias"),
    ("database", "connect_timeout"),
    ("database", "statement_timeout"),
    ("apns", "connections_per_credential"),
    ("apns", "connects_per_second"),
)
"""Fields of these sections that the first version lacks."""


@pytest.fixture
def template() -> str:
    """Return the template of an empty database."""
    return "template1"


class FirstVersion:
    """The commands of the first version."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        with zipfile.ZipFile(_WHEEL) as wheel:
            wheel.extractall(directory / "first")
        self._directory = directory
        self._file = directory / "first.yaml"
        known = {name: msgspec.to_builtins(getattr(settings, name)) for name in _SECTIONS}
        for section, later in _LATER:
            del known[section][later]
        self._file.write_text(yaml.safe_dump({"http": {"port": 0}, **known}))

    async def run(self, *command: str) -> Process:
        environment = {**os.environ, "PYTHONPATH": str(self._directory / "first")}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", *command, "--config", str(self._file)),
            stdout=PIPE,
            cwd=self._directory,
            env=environment,
        )

    async def operator_token(self) -> str:
        process = await self.run("operator-token")
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().strip()


@pytest.mark.slow
async def test_a_rolling_upgrade_loses_nothing(
    settings: Settings, apns: ApnsStandIn, database_url: str, tmp_path: Path
) -> None:
    first = FirstVersion(settings, tmp_path)
    token = await first.operator_token()  # this creates the first version's schema
    admin = await asyncpg.connect(database_url)
    applied = [row[0] for row in await admin.fetch("SELECT name FROM migration")]
    assert 0 < len(applied) < len(list_migrations())
    async with AsyncExitStack() as stack:
        old = await first.run("serve")
        old_url = await stack.enter_async_context(serving(old))
        before = Store(await stack.enter_async_context(aiohttp.ClientSession(old_url)), apns, token)
        before.rights = {}  # the first version has no rights: each token may push to all
        app = await before.app()
        copies = [await before.copy(app, "anna", f"a{n}") for n in range(3)]
        anna = {copies[0].customer: []}
        assert (await before.push(app, anna))["counts"]["delivered"] == 3
        apns.answer(
            copies[0].device_token, 503, "ServiceUnavailable", times=3
        )  # retried while the new version starts
        _, waiting = await before.send(app, anna)

        new = await Relay.start(settings, stack)
        assert await admin.fetchval("SELECT count(*) FROM migration") == len(list_migrations())
        after = Store(await stack.enter_async_context(aiohttp.ClientSession(new.url)), apns, token)
        assert (await after.done(app, waiting["push_id"]))["counts"]["delivered"] == 3
        # The first version writes rows of the table's type, which has new columns since: its callers get 503 and go to
        # another node. Later versions have a separate type and go on.
        assert (await before.send(app, anna))[0] == 503
        for destinations in (anna, "all"):
            assert (await after.push(app, destinations))["counts"]["delivered"] == 3
        later = await after.copy(app, "bert", "b1")
        assert (await after.push(app, {later.customer: []}))["counts"]["delivered"] == 1

        old.terminate()
        assert await old.wait() == 0
        assert (await after.push(app, anna))["counts"]["delivered"] == 3
        assert await after.received(*copies, later) == [5] * 3 + [1]
    await admin.close()
