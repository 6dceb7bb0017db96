"""Fixtures of a whole relay with its APNs stand-in, on real ports."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from apns_standin import ApnsStandIn
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.node.roles import ALL_ROLES, Roles
from relay.settings import (
    ApnsEndpoint,
    ApnsSettings,
    ChannelsSettings,
    DatabaseSettings,
    DispatchSettings,
    HttpSettings,
    KeysSettings,
    LimitsSettings,
    Settings,
)
from relay.store.accounts.api_tokens import create_operator_token
from tests.leaks import LEAKS

from .log import Log
from .store import Store


@pytest.fixture
async def apns(tmp_path: Path) -> AsyncIterator[ApnsStandIn]:
    async with ApnsStandIn(ca_file=tmp_path / "ca.pem") as stand_in:
        yield stand_in


@pytest.fixture
def dispatch() -> DispatchSettings:
    """Short waits, so that tests see retries."""
    return DispatchSettings(retry_first=0.2, retry_longest=1.0, poll=0.1)


@pytest.fixture
def limits() -> LimitsSettings:
    """The default limits. A test sets its own by `parametrize`."""
    return LimitsSettings()


@pytest.fixture
def roles() -> Roles:
    """The roles of the node `relay`."""
    return ALL_ROLES


@pytest.fixture
def settings(
    apns: ApnsStandIn, dispatch: DispatchSettings, limits: LimitsSettings, database_url: str, tmp_path: Path
) -> Settings:
    def endpoint(url: str) -> ApnsEndpoint:
        return ApnsEndpoint(host="localhost", port=urlsplit(url).port or 0, ca_file=str(apns.ca_file))

    return Settings(
        http=HttpSettings(port=0),
        # A pause of a busy machine must not count as an absent database.
        database=DatabaseSettings(url=database_url, connections=4, connect_timeout=60, statement_timeout=60),
        keys=KeysSettings(file=str(tmp_path / "keys.yaml")),
        apns=ApnsSettings(production=endpoint(apns.production_url), sandbox=endpoint(apns.sandbox_url)),
        channels=ChannelsSettings(
            production=endpoint(apns.channels_url("production")),
            sandbox=endpoint(apns.channels_url("sandbox")),
        ),
        dispatch=dispatch,
        limits=limits,
    )


@pytest.fixture
async def relay(settings: Settings, roles: Roles) -> AsyncIterator[Relay]:
    async with AsyncExitStack() as stack:
        started = await Relay.start(settings, stack, roles=roles)
        LEAKS.note("a key of the settings", Path(settings.keys.file).read_text())
        yield started


@pytest.fixture
async def store(relay: Relay, apns: ApnsStandIn) -> AsyncIterator[Store]:
    token = await create_operator_token(relay.database, SystemClock(), secrets.token_bytes)
    LEAKS.note("an operator's token", token)
    async with aiohttp.ClientSession(relay.url, trace_configs=[LEAKS.tracing()]) as session:
        yield Store(session, apns, token)


@pytest.fixture
def log() -> Iterator[Log]:
    kept, root = Log(), logging.getLogger()
    root.addHandler(kept)
    yield kept
    root.removeHandler(kept)
