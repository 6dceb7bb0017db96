"""Several nodes on one database: roles, one queue, and each push sent by one of them."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack

import aiohttp
import msgspec

from apns_standin import ApnsStandIn
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.node.roles import Roles
from relay.settings import Settings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database

from .store import Store

API, DISPATCH = Roles(dispatch=False), Roles(api=False)


async def test_three_nodes_share_one_queue_and_send_each_push_once(
    settings: Settings, apns: ApnsStandIn, database: Database
) -> None:
    """The poll interval is too long for the test: nodes must notify each other."""
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    rare_polls = msgspec.structs.replace(settings.dispatch, poll=3600.0, batch_size=1)
    settings = msgspec.structs.replace(settings, dispatch=rare_polls)
    async with AsyncExitStack() as stack:
        door = await Relay.start(settings, stack, roles=API)
        for _ in range(2):
            await Relay.start(settings, stack, roles=DISPATCH)
        store = Store(await stack.enter_async_context(aiohttp.ClientSession(door.url)), apns, token)
        app = await store.app()
        copies = [await store.copy(app, f"c{n}", f"a{n}") for n in range(8)]
        assert (await store.push(app, {copies[0].customer: []}))["counts"]["delivered"] == 1
        assert (await store.push(app, "all"))["counts"]["delivered"] == 8
        assert await store.received(*copies) == [2] + [1] * 7


async def test_a_node_that_only_sends_has_no_api(settings: Settings, database: Database) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    async with AsyncExitStack() as stack:
        relay = await Relay.start(settings, stack, roles=DISPATCH)
        session = await stack.enter_async_context(aiohttp.ClientSession(relay.url))
        statuses = {}
        for path in ("/healthz", "/readyz", "/v1.0/operator/publishers/"):
            async with session.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
                statuses[path] = response.status
        assert statuses == {"/healthz": 200, "/readyz": 200, "/v1.0/operator/publishers/": 404}
