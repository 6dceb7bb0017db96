"""Fixtures of the tests of the wire to Apple."""

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
    """Start a server with a script; it is stopped after the test, and what failed in it fails the test."""
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
    """A client of a server: ours, or stock aioapns if the option says so."""
    clients: list[Client] = []

    def make(server: ScriptedServer, **options: object) -> Client:
        kind = Stock if request.config.getoption("--stock-aioapns", default=False) else Ours
        client = kind(server, **({"key": key} | options))
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()
