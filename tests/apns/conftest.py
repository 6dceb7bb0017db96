"""Fixtures of the APNs tests: a server certificate, a key, a scripted server, a client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.apns.clients import Client, Ours, Stock, new_key
from tests.apns.scripted_server import Script, ScriptedServer, Tls


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stock-aioapns",
        action="store_true",
        help="run the tests of the aioapns table against stock aioapns",
    )


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def key() -> str:
    return new_key()


@pytest.fixture
async def start(tls: Tls) -> AsyncIterator[Callable[..., Awaitable[ScriptedServer]]]:
    """Start a server with a script. It stops after the test; an error in the script fails the test."""
    servers: list[ScriptedServer] = []

    async def run(
        script: Script, greeting: dict[int, int] | None = None, **attributes: object
    ) -> ScriptedServer:
        server = ScriptedServer(script, tls, greeting)
        for name, value in attributes.items():
            setattr(server, name, value)
        servers.append(await server.__aenter__())
        return server

    yield run
    for server in servers:
        await server.__aexit__()


@pytest.fixture
async def connect(key: str, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Client]]:
    """Return a client of a server: the relay's, or stock aioapns with `--stock-aioapns`."""
    clients: list[Client] = []

    def make(server: ScriptedServer, **options: object) -> Client:
        kind = Stock if request.config.getoption("--stock-aioapns", default=False) else Ours
        client = kind(server, **({"key": key} | options))
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()
