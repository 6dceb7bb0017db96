"""Shutdown in order and errors of the database: no push is lost, and none is sent twice."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import aiohttp

from apns_standin import ApnsStandIn
from relay.node.main import Relay
from relay.settings import Settings
from tests.eventually import nothing_happens_for
from tests.leaks import LEAKS

from .store import PATIENCE, Store


async def test_a_push_accepted_just_before_shutdown_is_sent_once(
    settings: Settings, apns: ApnsStandIn, store: Store
) -> None:
    """Two relays share the database; one of them shuts down."""
    app = await store.app()
    copies = [await store.copy(app, "anna", f"a{n}") for n in range(5)]
    async with AsyncExitStack() as stack:
        ending = await Relay.start(settings, stack)
        async with aiohttp.ClientSession(ending.url, trace_configs=[LEAKS.tracing()]) as session:
            status, answer = await Store(session, apns, store.operator_token).send(
                app, {copies[0].customer: []}
            )
        assert status == 202
    page = await store.done(app, answer["push_id"])
    assert page["counts"]["delivered"] == 5
    assert await store.received(*copies) == [1] * 5


async def test_shutdown_does_not_wait_for_a_missing_answer(
    settings: Settings, apns: ApnsStandIn, store: Store
) -> None:
    """A shutdown must end before a supervisor kills the process; another node sends what is left."""
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    apns.answer(copy.device_token, delay=3600.0, times=1)
    async with AsyncExitStack() as stack:
        ending = await Relay.start(settings, stack)
        async with aiohttp.ClientSession(ending.url) as session:
            status, answer = await Store(session, apns, store.operator_token).send(app, {copy.customer: []})
        assert status == 202
        started = time.monotonic()
    assert time.monotonic() - started < PATIENCE  # the answer would come after an hour
    page = await store.done(app, answer["push_id"])
    assert page["counts"]["delivered"] == 1


async def test_a_database_error_does_not_stop_the_dispatcher(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    async with relay.database.connection() as connection:
        await connection.execute("ALTER TABLE batch RENAME TO elsewhere")
        await nothing_happens_for(0.5)  # in which the dispatcher polls several times
        await connection.execute("ALTER TABLE elsewhere RENAME TO batch")
    page = await store.push(app, {copy.customer: []})
    assert page["counts"]["delivered"] == 1
