"""Access to `/metrics`, by the address of the client, behind trusted and other proxies."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.api.metrics import MetricsApi
from relay.core.ip_addresses import Network
from relay.http.problems import problems
from relay.service.state_metrics import StateMetrics
from relay.store.database import Database
from tests.api.front import Clock
from tests.leaks import LEAKS

LOOPBACK, OFFICE = ip_network("127.0.0.0/8"), ip_network("192.0.2.0/24")
IN_THE_OFFICE = {"X-Forwarded-For": "198.51.100.7, 192.0.2.9"}
ELSEWHERE = {"X-Forwarded-For": "192.0.2.9, 198.51.100.7"}


@pytest.mark.parametrize(
    ("networks", "trusted", "headers", "status"),
    [
        ([LOOPBACK], [], {}, 200),
        ([OFFICE], [], {}, 404),
        ([], [], {}, 404),
        # A proxy that is not trusted. Its own address does not count.
        ([LOOPBACK], [], IN_THE_OFFICE, 404),
        ([OFFICE], [], IN_THE_OFFICE, 404),
        ([LOOPBACK], [], {"Forwarded": "for=127.0.0.1"}, 404),
        ([LOOPBACK], [], {"X-Real-IP": "127.0.0.1"}, 404),
        ([LOOPBACK], [], {"X-Forwarded-Proto": "https"}, 404),
        # A trusted proxy. The client that it names counts.
        ([OFFICE], [LOOPBACK], IN_THE_OFFICE, 200),
        ([OFFICE], [LOOPBACK], ELSEWHERE, 404),
        ([LOOPBACK], [LOOPBACK], ELSEWHERE, 404),
        ([LOOPBACK], [LOOPBACK], {"X-Forwarded-For": "127.0.0.1"}, 200),
        ([LOOPBACK], [LOOPBACK], {}, 200),
    ],
)
async def test_clients_of_other_networks_get_404(
    database: Database,
    networks: Sequence[Network],
    trusted: Sequence[Network],
    headers: dict[str, str],
    status: int,
) -> None:
    application = web.Application(middlewares=[problems])
    state = StateMetrics(database, Clock())
    api = MetricsApi(state, lambda: None, networks=networks, trusted=trusted)
    application.add_routes(api.routes())
    async with (
        TestClient(TestServer(application), trace_configs=[LEAKS.tracing()]) as client,
        client.get("/metrics", headers=headers) as response,
    ):
        assert response.status == status
        text = await response.text()
    assert ("push_relay_build_info" in text) == (status == 200)


async def test_openmetrics_is_served_on_request(database: Database) -> None:
    application = web.Application(middlewares=[problems])
    api = MetricsApi(StateMetrics(database, Clock()), lambda: None, networks=[LOOPBACK], trusted=[])
    application.add_routes(api.routes())
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with (
        TestClient(TestServer(application)) as client,
        client.get("/metrics", headers=accept) as response,
    ):
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")
