"""GET /metrics: what a push adds to it, who may read it, and that it survives a database that is away."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from apns_standin import ApnsStandIn
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.settings import DatabaseSettings, MetricsSettings, Settings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import NodeRepository
from tests.eventually import eventually
from tests.leaks import LEAKS
from tests.telemetry.test_dashboards import OF_PROMETHEUS, known

from .process import scattered, serving, worker_is_replaced, workers
from .store import Store
from .test_workers import start

DELIVERED = "push_relay_outcomes_total", {"outcome": "delivered", "reason": ""}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


async def scrape(session: aiohttp.ClientSession) -> Samples:
    async with session.get("/metrics") as response:
        assert response.status == 200, await response.text()
        return samples(await response.text())


async def until(session: aiohttp.ClientSession, holds: Callable[[Samples], bool]) -> Samples:
    async def scrape_that_holds() -> Samples:
        scraped = await scrape(session)
        assert holds(scraped)
        return scraped

    return await eventually(scrape_that_holds, poll_seconds=0.05)


async def test_a_push_is_counted_on_all_of_its_way(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna", f"a{number}") for number in range(3)]
    before = await scrape(store.http)
    await store.push(app, {copies[0].customer: []})
    wanted = value(before, DELIVERED[0], **DELIVERED[1]) + 3
    after = await until(store.http, lambda found: value(found, DELIVERED[0], **DELIVERED[1]) == wanted)

    def grew(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grew("push_relay_accepted_pushes_total", kind="push") == 1
    assert grew("push_relay_accepted_targets_total") == 3
    assert grew("push_relay_push_seconds_count") >= 1
    assert grew("push_relay_apns_seconds_count", size="small") >= 1
    assert grew("push_relay_group_commit_size_count", stage="intake") == 1
    send = {"route": "/v1.0/send/", "method": "POST", "status": "2xx"}
    assert grew("push_relay_http_request_seconds_count", **send) == 1
    assert value(after, "push_relay_apns_connections") >= 1
    assert value(after, "push_relay_database_connections_limit") == 4


async def test_all_of_the_database_is_shown(store: Store) -> None:
    """Also every series without labels: those exist before anything happens."""
    team = {"team_id": "TEAM000001", "environment": "production"}
    await store.credential(*team.values())
    found = await until(store.http, lambda found: value(found, "push_relay_credentials", state="active") == 1)
    labels = {name: {key for key, _ in keys} for name, keys in found}
    for name, wanted in known().items():
        if name not in OF_PROMETHEUS and (not wanted - {"le"} or name in labels):
            assert labels.get(name) == wanted, name
    assert value(found, "push_relay_database_up") == 1
    assert {"state", "size"} == labels["push_relay_queue_batches"]
    assert "push_relay_nodes" in labels


async def test_who_writes_odd_paths_adds_no_series(store: Store) -> None:
    for path in ("/odd-path", "/v1.0/pushes/00000000-0000-0000-0000-000000000000/", "/v1.0/send/"):
        async with store.http.request("PURGE" if "odd" in path else "GET", path) as response:
            assert response.status >= 400
    text = await (await store.http.get("/metrics")).text()
    assert 'route="none",status="4xx"' in text
    assert 'route="/v1.0/pushes/{push_id}/"' in text
    assert "odd-path" not in text
    assert "PURGE" not in text


FORWARDED = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-For": ""},
    {"Forwarded": "for=127.0.0.1"},
    {"X-Real-IP": "127.0.0.1"},
    {"Via": "1.1 proxy"},
]


async def test_what_comes_through_a_proxy_is_refused(store: Store) -> None:
    """A proxy on this machine would else make them everybody's."""
    async with store.http.get("/no-such-path") as response:
        missing = await response.json()
    for headers in FORWARDED:
        async with store.http.get("/metrics", headers=headers) as response:
            assert response.status == 404
            assert (await response.json()).keys() == missing.keys()
            assert (await response.json())["detail"] == missing["detail"]


async def test_other_networks_find_nothing(settings: Settings) -> None:
    elsewhere = msgspec.structs.replace(settings, metrics=MetricsSettings(networks=("192.0.2.0/24",)))
    async with AsyncExitStack() as stack:
        relay = await Relay.start(elsewhere, stack)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(relay.url, trace_configs=[LEAKS.tracing()])
        )
        async with session.get("/metrics") as response:
            assert response.status == 404


@pytest.mark.parametrize("network", ["10.0.0.0/99", "localhost", ""])
def test_what_is_no_network_is_refused_with_the_settings(network: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"metrics\.networks"):
        msgspec.convert({"metrics": {"networks": [network]}}, Settings)


async def test_a_database_that_is_away_is_said_and_is_no_error(settings: Settings) -> None:
    away = DatabaseSettings(url="postgresql://relay@127.0.0.1:1/relay")
    async with AsyncExitStack() as stack:
        relay = await Relay.start(msgspec.structs.replace(settings, database=away), stack)
        session = await stack.enter_async_context(aiohttp.ClientSession(relay.url))
        found = await scrape(session)
        assert ("push_relay_database_up", frozenset()) in found
        assert value(found, "push_relay_database_up") == 0
        assert ("push_relay_queue_oldest_due_seconds", frozenset()) not in found


async def test_what_happened_is_added_to_the_minutes(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a")
    await store.push(app, {copy.customer: []})
    now = await relay.database.now()
    minutes = MinuteCountRepository(relay.database)
    hour = timedelta(hours=1)

    async def counts_with_a_delivery() -> dict[tuple[str, str], int]:
        counts = {
            (one.outcome, one.reason): one.count
            for one in await minutes.sum_counts(now - hour, now + hour, 7200)
        }
        assert counts["delivered", ""] >= 1
        return counts

    counts = await eventually(counts_with_a_delivery, poll_seconds=0.05)
    assert counts["accepted", ""] >= 1
    assert counts["targets", ""] >= 1


async def test_a_node_says_that_it_lives(relay: Relay) -> None:
    now = await relay.database.now()
    [node] = await eventually(lambda: NodeRepository(relay.database).list_nodes(now))
    assert (node.roles, node.process_id) == (("api", "dispatch"), os.getpid())
    assert abs(node.clock_ahead) < 60


@pytest.mark.slow
async def test_any_worker_answers_for_all_also_for_one_that_died(
    settings: Settings, apns: ApnsStandIn, database: Database, tmp_path: Path
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    process = await start(settings, tmp_path / "relay.yaml")
    async with serving(process) as url:
        async with scattered(url) as session:
            store = Store(session, apns, token)
            app = await store.app()
            copy = await store.copy(app, "anna", "a")
            for _ in range(6):
                await store.push(app, {copy.customer: []})

            def whole(found: Samples) -> bool:
                live = value(found, "push_relay_database_connections_limit") == 2 * 4
                return live and value(found, DELIVERED[0], **DELIVERED[1]) == 6

            for _ in range(6):  # whoever answers
                found = await until(session, whole)
                assert value(found, "push_relay_accepted_pushes_total", kind="push") == 6
            dead = workers(process)[0]
            dead.kill()
            await eventually(lambda: worker_is_replaced(process, dead))
            found = await until(session, whole)
            assert value(found, "push_relay_accepted_pushes_total", kind="push") == 6
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(90):
            assert await process.wait() == 0
