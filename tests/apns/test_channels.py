"""The door to Apple's channels where the network is bad: a credential that is stuck is in nobody's way."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from relay.apns.channels import AppleChannels, ChannelEndpoints
from relay.apns.connection import Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender
from relay.core.accounts import Environment
from relay.core.delivery.sending import Answer, Credential, Fate, PushHeaders
from tests.eventually import loop_turns

NOWHERE = Endpoint("127.0.0.1", 1)
HEADERS = PushHeaders("liveactivity", 10, 0)
CROWD = 300
"""More than may be under way at once."""


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    """Takes connections, and says nothing: the kernel accepts them, and nobody ever reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        yield Endpoint(*listening.getsockname()[:2])


@asynccontextmanager
async def door(stuck: Endpoint, timing: Timing) -> AsyncIterator[AppleChannels]:
    """Apple's production is stuck, and its sandbox refuses connections."""
    hosts = {Environment.PRODUCTION: stuck, Environment.SANDBOX: NOWHERE}
    sender = ApnsSender(hosts, timing=timing)
    channels = AppleChannels(
        {environment: ChannelEndpoints(host, host) for environment, host in hosts.items()},
        sender,
        timing=timing,
    )
    yield channels
    await channels.aclose()
    await sender.aclose()


def credential(key: str, environment: Environment = Environment.PRODUCTION, version: int = 1) -> Credential:
    number = 1 if environment is Environment.PRODUCTION else 2
    return Credential(number, version, "TEAM000001", environment, "token", "KEY0000001", key)


async def push(channels: AppleChannels, with_: Credential) -> Answer:
    return await channels.broadcast(with_, "com.example.a", "channel", uuid4(), HEADERS, b"{}")


async def test_a_stuck_credential_leaves_room_for_others(silent: Endpoint, key: str) -> None:
    async with door(silent, Timing(connect=300, response=300)) as channels:
        stuck = [asyncio.create_task(push(channels, credential(key))) for _ in range(CROWD)]
        await loop_turns()
        async with asyncio.timeout(60):
            answer = await push(channels, credential(key, Environment.SANDBOX))
        assert answer == Answer(Fate.NOT_SENT, 0, "ConnectFailed")
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_who_waits_for_room_has_an_answer_when_the_credential_is_replaced(
    silent: Endpoint, key: str
) -> None:
    async with door(silent, Timing(connect=2, response=20)) as channels:
        waiting = [asyncio.create_task(push(channels, credential(key))) for _ in range(CROWD)]
        await loop_turns()
        newer = asyncio.create_task(push(channels, credential(key, version=2)))
        answers = await asyncio.gather(*waiting, newer)
    assert "CredentialReplaced" in {answer.reason for answer in answers}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_waiting_for_room_is_part_of_the_time_that_a_request_has(silent: Endpoint, key: str) -> None:
    """The lease of a push is longer than that, and must be."""
    async with door(silent, Timing(connect=2, response=3)) as channels:
        answers = await asyncio.gather(*(push(channels, credential(key)) for _ in range(500)))
    # The first have the time for their attempt, and others after them; the last hundred would need six seconds.
    assert [answer.reason for answer in answers].count("ResponseTimeout") >= 100
    gc.collect()  # httpcore leaves sockets to it whose TLS was under way when their time was up
