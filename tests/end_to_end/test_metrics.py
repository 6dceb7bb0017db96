"""GET /metrics: the counters of a push, access from allowed networks only, and an absent database."""

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
from tests.telemetry.test_dashboards import PROMETHEUS_METRICS, labels_by_series

from .process import scattered, serving, worker_is_replaced, workers
from .store import Store
from .test_workers import start

DELIVERED = "push_relay_outcomes_total", {"outcome": "delivered", "reason": ""}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(scraped: Samples, name: str, **labels: str) -> float:
    return scraped.get((name, frozenset(labels.items())), 0.0)


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


async def test_a_push_is_counted_from_request_to_outcome(store: Store) -> None:
    app = await store.app()
    copies = [await store.copy(app, "anna", f"a{number}") for number in range(3)]
    before = await scrape(store.http)
    await store.push(app, {copies[0].customer: []})
    delivered = value(before, DELIVERED[0], **DELIVERED[1]) + 3
    after = await until(store.http, lambda scraped: value(scraped, DELIVERED[0], **DELIVERED[1]) == delivered)

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


async def test_all_metrics_of_the_database_are_exported(store: Store) -> None:
    """Also every series without labels: these exist from the start."""
    team = {"team_id": "TEAM000001", "environment": "production"}
    await store.credential(*team.values())
    scraped = await until(
        store.http, lambda scraped: value(scraped, "push_relay_credentials", state="active") == 1
    )
    labels = {name: {key for key, _ in keys} for name, keys in scraped}
    for name, expected in labels_by_series().items():
        if name not in PROMETHEUS_METRICS and (not expected - {"le"} or name in labels):
            assert labels.get(name) == expected, name
    assert value(scraped, "push_relay_database_up") == 1
    assert {"state", "size"} == labels["push_relay_queue_batches"]
    assert "push_relay_nodes" in labels


async def test_unknown_paths_add_no_series(store: Store) -> None:
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


async def test_requests_through_a_proxy_are_refused(store: Store) -> None:
    """Otherwise a proxy on this machine would publish the metrics."""
    async with store.http.get("/no-such-path") as response:
        missing = await response.json()
    for headers in FORWARDED:
        async with store.http.get("/metrics", headers=headers) as response:
            assert response.status == 404
            assert (await response.json()).keys() == missing.keys()
            assert (await response.json())["detail"] == missing["detail"]


async def test_other_networks_get_404(settings: Settings) -> None:
    elsewhere = msgspec.structs.replace(settings, metrics=MetricsSettings(networks=("192.0.2.0/24",)))
    async with AsyncExitStack() as stack:
        relay = await Relay.start(elsewhere, stack)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(relay.url, trace_configs=[LEAKS.tracing()])
        )
        async with session.get("/metrics") as response:
            assert response.status == 404


@pytest.mark.parametrize("network", ["10.0.0.0/99", "localhost", ""])
def test_settings_with_an_invalid_network_are_refused(network: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"metrics\.networks"):
        msgspec.convert({"metrics": {"networks": [network]}}, Settings)


async def test_metrics_work_without_the_database(settings: Settings) -> None:
    away = DatabaseSettings(url="postgresql://relay@127.0.0.1:1/relay")
    async with AsyncExitStack() as stack:
        relay = await Relay.start(msgspec.structs.replace(settings, database=away), stack)
        session = await stack.enter_async_context(aiohttp.ClientSession(relay.url))
        scraped = await scrape(session)
        assert ("push_relay_database_up", frozenset()) in scraped
        assert value(scraped, "push_relay_database_up") == 0
        assert ("push_relay_queue_oldest_due_seconds", frozenset()) not in scraped


async def test_counts_per_minute_are_stored(relay: Relay, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a")
    await store.push(app, {copy.customer: []})
    now = await relay.database.now()
    minutes = MinuteCountRepository(relay.database)
    hour = timedelta(hours=1)

    async def counts_with_a_delivery() -> dict[tuple[str, str], int]:
        counts = {
            (row.outcome, row.reason): row.count
            for row in await minutes.sum_counts(now - hour, now + hour, 7200)
        }
        assert counts["delivered", ""] >= 1
        return counts

    counts = await eventually(counts_with_a_delivery, poll_seconds=0.05)
    assert counts["accepted", ""] >= 1
    assert counts["targets", ""] >= 1


async def test_a_node_stores_its_heartbeat(relay: Relay) -> None:
    now = await relay.database.now()
    [node] = await eventually(lambda: NodeRepository(relay.database).list_nodes(now))
    assert (node.roles, node.process_id) == (("api", "dispatch"), os.getpid())
    assert abs(node.clock_ahead) < 60


@pytest.mark.slow
async def test_any_worker_answers_for_all_including_a_dead_one(
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

            def counts_all_workers(scraped: Samples) -> bool:
                both_live = value(scraped, "push_relay_database_connections_limit") == 2 * 4
                return both_live and value(scraped, DELIVERED[0], **DELIVERED[1]) == 6

            for _ in range(6):  # each worker answers some of them
                scraped = await until(session, counts_all_workers)
                assert value(scraped, "push_relay_accepted_pushes_total", kind="push") == 6
            dead = workers(process)[0]
            dead.kill()
            await eventually(lambda: worker_is_replaced(process, dead))
            scraped = await until(session, counts_all_workers)
            assert value(scraped, "push_relay_accepted_pushes_total", kind="push") == 6
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(90):
            assert await process.wait() == 0
