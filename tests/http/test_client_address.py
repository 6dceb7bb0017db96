"""Address and scheme of a client behind reverse proxies, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.core.ip_addresses import parse_networks
from relay.http.client_address import TRUSTED_PROXIES, client_of, scheme_of

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def trusted() -> list[str]:
    return ["127.0.0.1", "10.0.0.0/8"]


@pytest.fixture
async def client(trusted: list[str]) -> AsyncIterator[Client]:
    async def show(request: web.Request) -> web.Response:
        trusted_networks = request.app[TRUSTED_PROXIES]
        return web.Response(text=f"{scheme_of(request)} {client_of(request, trusted_networks)}")

    application = web.Application()
    application[TRUSTED_PROXIES] = parse_networks(trusted)
    application.router.add_get("/", show)
    async with TestClient(TestServer(application, host="127.0.0.1")) as connected:
        yield connected


async def read_address(client: Client, *headers: tuple[str, str]) -> str:
    async with client.get("/", headers=headers) as response:
        return await response.text()


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([], "http 127.0.0.1"),
        ([("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")], "https 192.0.2.7"),
        ([("X-Forwarded-For", "1.1.1.1, 192.0.2.7, 10.0.0.2")], "http 192.0.2.7"),
        ([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "192.0.2.7")], "http 192.0.2.7"),
        ([("X-Forwarded-Proto", "http, HTTPS")], "https 127.0.0.1"),
        ([("X-Forwarded-Proto", "gopher")], "http 127.0.0.1"),
        ([("X-Forwarded-Proto", "")], "http 127.0.0.1"),
    ],
)
async def test_a_trusted_proxy_is_believed(
    client: Client, headers: list[tuple[str, str]], answer: str
) -> None:
    assert await read_address(client, *headers) == answer


@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8"]])
async def test_other_proxies_are_not_believed(client: Client) -> None:
    headers = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")]
    assert await read_address(client, *headers) == "http 127.0.0.1"
