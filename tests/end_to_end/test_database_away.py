"""The database is away, hangs or refuses writes: callers get 503, and work resumes by itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import asyncpg
import msgspec
import pytest

from apns_standin import ApnsStandIn
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.settings import DatabaseSettings, Settings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from tests.eventually import eventually, nothing_happens_for

from .network import Network, network_to
from .store import PATIENCE, App, Store


@pytest.fixture
async def network(database_url: str) -> AsyncIterator[Network]:
    async with network_to(database_url) as network:
        yield network


@pytest.fixture
def settings(settings: Settings, network: Network) -> Settings:
    """Settings whose database is behind a network that can break."""
    return msgspec.structs.replace(settings, database=DatabaseSettings(url=network.url, connections=4))


async def status(store: Store, path: str) -> int:
    async with store.http.get(path) as response:
        return response.status


async def until_ready(store: Store) -> None:
    async def ready() -> bool:
        return await status(store, "/readyz") == 200

    await eventually(ready)


async def refused(store: Store, app: App, customer: str) -> None:
    """Send a push that must be refused with 503 and `Retry-After`."""
    response = await store.post(app, customer)
    assert response.status == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert response.content_type == "application/problem+json"


async def test_a_relay_starts_without_its_database_and_works_once_it_is_there(
    network: Network, settings: Settings, apns: ApnsStandIn, database: Database
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    await network.down()
    async with AsyncExitStack() as stack:
        relay = await Relay.start(settings, stack)
        store = Store(await stack.enter_async_context(aiohttp.ClientSession(relay.url)), apns, token)
        assert await status(store, "/healthz") == 200
        assert await status(store, "/readyz") == 503
        answer, _ = await store.call("GET", "/v1.0/operator/publishers/", token)
        assert answer == 503
        await network.up()
        await until_ready(store)
        app = await store.app()
        copy = await store.copy(app, "anna", "a1")
        assert (await store.push(app, {copy.customer: []}))["counts"]["delivered"] == 1


async def test_outcomes_are_stored_after_the_database_was_away(network: Network, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    store.apns.answer(copy.device_token, delay=1.0, times=1)
    sent, answer = await store.send(app, {copy.customer: []})
    assert sent == 202
    await network.down()  # the push is on its way to Apple, and its outcome can't be written
    assert await status(store, "/healthz") == 200
    assert await status(store, "/readyz") == 503
    await refused(store, app, copy.customer)
    await nothing_happens_for(1.5)  # longer than Apple takes to answer
    await network.up()
    page = await store.done(app, answer["push_id"])
    assert page["counts"]["delivered"] == 1
    await until_ready(store)
    assert (await store.push(app, {copy.customer: []}))["counts"]["delivered"] == 1
    assert await store.received(copy) == [2]


async def test_callers_do_not_wait_for_a_database_that_hangs(network: Network, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    assert (await store.push(app, {copy.customer: []}))["counts"]["delivered"] == 1
    network.stall()
    await asyncio.gather(
        *(refused(store, app, copy.customer) for _ in range(8))
    )  # the first calls notice the fault
    # Later calls are refused at once: 50 calls that waited for a connection would need minutes.
    async with asyncio.timeout(PATIENCE):
        for _ in range(50):
            await refused(store, app, copy.customer)
        assert await status(store, "/readyz") == 503
    await network.up()
    await until_ready(store)
    assert (await store.push(app, {copy.customer: []}))["counts"]["delivered"] == 1


async def test_pushes_are_refused_while_the_database_is_read_only(store: Store, database_url: str) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("SELECT current_database()")

    async def read_only(value: str) -> None:
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    await read_only("on")

    async def unready() -> bool:
        return await status(store, "/readyz") == 503

    await eventually(unready)
    await refused(store, app, copy.customer)
    await admin.execute("SET transaction_read_only = off")
    await admin.execute("SET default_transaction_read_only = off")
    await read_only("off")
    await admin.close()
    await until_ready(store)
    assert (await store.push(app, {copy.customer: []}))["counts"]["delivered"] == 1
    assert await store.received(copy) == [1]


async def test_a_failed_migration_is_tried_again(
    network: Network,
    settings: Settings,
    apns: ApnsStandIn,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with database.connection() as connection:
        forgotten = await connection.fetchrow(
            "DELETE FROM migration WHERE name = (SELECT max(name) FROM migration) RETURNING name, applied_at"
        )
    assert forgotten is not None
    await network.down()
    async with AsyncExitStack() as stack:
        relay = await Relay.start(settings, stack)
        store = Store(await stack.enter_async_context(aiohttp.ClientSession(relay.url)), apns, "")
        await network.up()
        await eventually(lambda: "cannot be prepared" in caplog.text)
        assert await status(store, "/readyz") == 503
        async with database.connection() as connection:
            await connection.execute("INSERT INTO migration VALUES ($1, $2)", *forgotten)
        await until_ready(store)
