"""Channels at Apple: against the APNs stand-in, a scripted server, and bad networks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import anyio._backends._asyncio  # noqa: F401  httpx imports these when it first connects: 500 times at once below
import httpcore._async.http2  # noqa: F401
import httpx
import pytest

from apns_standin import ApnsStandIn
from relay.apns.channels import AppleChannels, ChannelEndpoints, _network_errors, _NoAnswerError
from relay.apns.connection import Timing
from relay.apns.errors import CannotSendError
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender
from relay.core.accounts import CredentialKind, Environment
from relay.core.delivery.sending import Answer, Credential, Fate
from relay.core.push.apns_headers import PushHeaders
from tests.apns.scripted_server import Peer, ScriptedServer
from tests.eventually import eventually, loop_turns
from tests.factories import make_credential

NOWHERE = Endpoint("127.0.0.1", 1)
HEADERS = PushHeaders("liveactivity", 10, 0)
CROWD = 300
"""More requests than a credential may have at once."""


leaves_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""httpcore leaves sockets to the garbage collector if a request is cancelled during its TLS handshake."""


@pytest.fixture
async def silent() -> AsyncIterator[Endpoint]:
    """An endpoint that accepts connections in the kernel and never reads from them."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        address = listening.getsockname()[:2]
        yield Endpoint(*address)
    await abort_connections_to(address)


async def abort_connections_to(address: tuple[str, int]) -> None:
    """Abort the connections that httpcore left open (see `leaves_sockets`).

    Otherwise the garbage collector may close them during a later test, which fails by the warning.
    """
    transports = [item for item in gc.get_objects() if isinstance(item, asyncio.Transport)]
    for transport in transports:
        with contextlib.suppress(AttributeError):  # a TLS transport whose protocol is gone already
            if transport.get_extra_info("peername") == address:
                transport.abort()
    await loop_turns(2)


@asynccontextmanager
async def at_stuck_server(stuck: Endpoint, timing: Timing) -> AsyncIterator[AppleChannels]:
    """Channels whose production host is stuck and whose sandbox refuses connections."""
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
    return make_credential(credential_id=number, version=version, environment=environment, secret=key)


async def push(channels: AppleChannels, with_: Credential) -> Answer:
    return await channels.broadcast(with_, "com.example.a", "channel", uuid4(), HEADERS, b"{}")


@leaves_sockets
async def test_a_stuck_credential_leaves_room_for_others(silent: Endpoint, key: str) -> None:
    async with at_stuck_server(silent, Timing(connect=300, response=300)) as channels:
        stuck = [asyncio.create_task(push(channels, credential(key))) for _ in range(CROWD)]
        await loop_turns()
        async with asyncio.timeout(60):
            answer = await push(channels, credential(key, Environment.SANDBOX))
        assert answer == Answer(Fate.NOT_SENT, 0, "ConnectFailed")
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


@leaves_sockets
async def test_waiting_requests_are_answered_when_the_credential_is_replaced(
    silent: Endpoint, key: str
) -> None:
    async with at_stuck_server(silent, Timing(connect=2, response=20)) as channels:
        waiting = [asyncio.create_task(push(channels, credential(key))) for _ in range(CROWD)]
        await loop_turns()
        newer = asyncio.create_task(push(channels, credential(key, version=2)))
        answers = await asyncio.gather(*waiting, newer)
    assert "CredentialReplaced" in {answer.reason for answer in answers}


@leaves_sockets
async def test_waiting_counts_towards_the_deadline_of_a_request(silent: Endpoint, key: str) -> None:
    """Leases rely on that deadline."""
    async with at_stuck_server(silent, Timing(connect=2, response=3)) as channels:
        answers = await asyncio.gather(*(push(channels, credential(key)) for _ in range(500)))
    # The first have the time for their attempt, and others after them; the last hundred would need six seconds.
    assert [answer.reason for answer in answers].count("ResponseTimeout") >= 100


# Against the stand-in

TEAM, BUNDLE = "TEAM000001", "com.example.app"
PAYLOAD = b'{"aps":{"event":"update"}}'
PATIENT = Timing(connect=60, response=60)


@asynccontextmanager
async def at_stand_in(
    folder: Path, apple: Callable[[], float] = time.time, relay: Callable[[], float] = time.time
) -> AsyncIterator[tuple[ApnsStandIn, AppleChannels]]:
    async with ApnsStandIn(ca_file=folder / "ca.pem", clock=apple) as apns:
        ca_file = str(apns.ca_file)
        pushes = Endpoint("localhost", apns.listeners["production"].port, ca_file)
        management = Endpoint("localhost", apns.management["production"].port, ca_file)
        sender = ApnsSender({Environment.PRODUCTION: pushes}, timing=PATIENT, clock=relay)
        endpoints = {Environment.PRODUCTION: ChannelEndpoints(management, pushes)}
        channels = AppleChannels(endpoints, sender, timing=PATIENT)
        yield apns, channels
        await channels.aclose()
        await sender.aclose()


def key_of(apns: ApnsStandIn) -> Credential:
    apns.register_topic(BUNDLE, TEAM)
    key = apns.issue_key(TEAM)
    return Credential(1, 1, TEAM, Environment.PRODUCTION, CredentialKind.TOKEN, key.key_id, key.p8)


def certificate_of(apns: ApnsStandIn) -> Credential:
    pem = apns.issue_certificate(TEAM, BUNDLE, "production")
    return Credential(1, 1, TEAM, Environment.PRODUCTION, CredentialKind.CERTIFICATE, "", pem, BUNDLE)


@pytest.mark.parametrize("issue", [key_of, certificate_of])
async def test_a_channel_is_created_pushed_to_and_deleted(
    tmp_path: Path, issue: Callable[[ApnsStandIn], Credential]
) -> None:
    async with at_stand_in(tmp_path) as (apns, channels):
        allowed, push_id = issue(apns), uuid4()
        created = await channels.create(allowed, BUNDLE, message_storage=True)
        assert created.answer == Answer(Fate.ANSWERED, 201)
        [channel] = apns.channels()
        assert (channel["channel_id"], channel["message_storage"]) == (created.apns_channel_id, True)
        headers = PushHeaders("liveactivity", 5, 1_900_000_000)
        answer = await channels.broadcast(allowed, BUNDLE, created.apns_channel_id, push_id, headers, PAYLOAD)
        assert answer == Answer(Fate.ANSWERED, 200)
        [received] = await apns.channel_notifications(created.apns_channel_id)
        assert received["apns_id"] == str(push_id)
        assert received["payload"] == {"aps": {"event": "update"}}
        sent = {name: value for name, value in received["headers"].items() if name.startswith("apns-")}
        assert sent == {
            "apns-request-id": str(push_id),
            "apns-channel-id": created.apns_channel_id,
            "apns-push-type": "liveactivity",
            "apns-priority": "5",
            "apns-expiration": "1900000000",
        }
        assert await channels.delete(allowed, BUNDLE, created.apns_channel_id) == Answer(Fate.ANSWERED, 204)
        assert apns.channels() == []
        again = await channels.delete(allowed, BUNDLE, created.apns_channel_id)
        assert again == Answer(Fate.ANSWERED, 400, "ChannelNotRegistered")


async def test_a_channel_that_stores_nothing(tmp_path: Path) -> None:
    async with at_stand_in(tmp_path) as (apns, channels):
        allowed = key_of(apns)
        created = await channels.create(allowed, BUNDLE, message_storage=False)
        assert [channel["message_storage"] for channel in apns.channels()] == [False]
        headers = PushHeaders("liveactivity", 10)  # no expiration is 0: what is not stored takes no other
        channel_id = created.apns_channel_id
        answer = await channels.broadcast(allowed, BUNDLE, channel_id, uuid4(), headers, PAYLOAD)
        assert answer == Answer(Fate.ANSWERED, 200)


async def test_a_jwt_that_apple_calls_expired_is_not_used_again(tmp_path: Path) -> None:
    start = 2_700.0 * 629_630  # a full multiple of 45 minutes: the JWT is new
    now = [start]
    async with at_stand_in(tmp_path, lambda: start + 7_200, lambda: now[0]) as (apns, channels):
        allowed = key_of(apns)
        answers = [(await channels.create(allowed, BUNDLE, message_storage=True)).answer for _ in range(2)]
        assert answers == [
            Answer(Fate.ANSWERED, 403, "ExpiredProviderToken"),
            Answer(Fate.NOT_SENT, 0, "ProviderTokenExpired"),
        ]
        now[0] = start + 7_200
        created = await channels.create(allowed, BUNDLE, message_storage=True)
        assert created.answer == Answer(Fate.ANSWERED, 201)


async def test_a_credential_that_cannot_be_used_sends_nothing(silent: Endpoint) -> None:
    refused = Answer(Fate.NOT_SENT, 0, "BadCredential")
    async with at_stuck_server(silent, PATIENT) as channels:
        for number, kind in enumerate(CredentialKind, 1):
            bad = replace(credential("no secret"), credential_id=number, kind=kind)
            assert await push(channels, bad) == refused
            assert (await channels.create(bad, "com.example.a", message_storage=True)).answer == refused
            assert await channels.delete(bad, "com.example.a", "channel") == refused


# Against a scripted server

Start = Callable[..., Awaitable[ScriptedServer]]


@asynccontextmanager
async def at_server(server: ScriptedServer, timing: Timing = PATIENT) -> AsyncIterator[AppleChannels]:
    endpoint = Endpoint("localhost", server.port, server.tls.ca_file)
    sender = ApnsSender(dict.fromkeys(Environment, endpoint), timing=timing)
    endpoints = dict.fromkeys(Environment, ChannelEndpoints(endpoint, endpoint))
    channels = AppleChannels(endpoints, sender, timing=timing)
    yield channels
    await channels.aclose()
    await sender.aclose()


async def test_a_channel_without_an_identifier_is_no_answer(start: Start, key: str) -> None:
    async def script(peer: Peer) -> None:
        peer.answer(await peer.request(), 201)

    async with at_server(await start(script)) as channels:
        created = await channels.create(credential(key), "com.example.a", message_storage=True)
    assert created.answer == Answer(Fate.UNKNOWN, 0, "MalformedAnswer")
    assert created.apns_channel_id == ""


async def test_a_reason_and_its_time_are_read_and_too_many_updates_hold_the_jwt(
    start: Start, key: str
) -> None:
    async def script(peer: Peer) -> None:
        peer.answer(await peer.request(), 410, b'{"reason":"Unregistered","timestamp":7}')
        peer.answer(await peer.request(), 429, b'{"reason":"TooManyProviderTokenUpdates"}')
        peer.answer(await peer.request(), 500, b"{" + b" " * 5_000)

    server = await start(script)
    async with at_server(server) as channels:
        assert await push(channels, credential(key)) == Answer(Fate.ANSWERED, 410, "Unregistered", 7)
        held = await push(channels, credential(key))
        assert held == Answer(Fate.ANSWERED, 429, "TooManyProviderTokenUpdates")
        provider = channels._sender.provider(credential(key))
        assert provider is not None
        assert provider._held_until > time.time() + 19 * 60
        assert await push(channels, credential(key)) == Answer(Fate.ANSWERED, 500)
    assert len({request.headers["authorization"] for request in server.requests}) == 1


async def test_a_second_connection_opens_beside_one_that_goes_away(start: Start, key: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        if peer.number == 0:
            peer.go_away(request.stream_id)
            await asyncio.Event().wait()
        peer.answer(request)

    server = await start(script)
    async with at_server(server) as channels:
        first = asyncio.create_task(push(channels, credential(key)))
        await eventually(lambda: server.requests)
        async with asyncio.timeout(30):
            answer = Answer(Fate.UNKNOWN)
            while answer.fate is not Fate.ANSWERED:  # until it has read the GOAWAY
                answer = await push(channels, credential(key))
        assert answer == Answer(Fate.ANSWERED, 200)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_proxies_of_the_environment_are_not_used(
    start: Start, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(peer: Peer) -> None:
        peer.answer(await peer.request())

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with at_server(await start(script)) as channels:
        assert await push(channels, credential(key)) == Answer(Fate.ANSWERED, 200)


async def test_no_answer_in_time_and_a_connection_that_is_lost(start: Start, key: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await asyncio.Event().wait()
        peer.abort()

    server = await start(script)
    async with at_server(server, Timing(connect=60, response=1)) as channels:
        assert await push(channels, credential(key)) == Answer(Fate.UNKNOWN, 0, "ResponseTimeout")
    async with at_server(server) as channels:
        assert await push(channels, credential(key)) == Answer(Fate.UNKNOWN, 0, "ConnectionLost")


@pytest.mark.parametrize(
    ("error", "translated"),
    [
        (httpx.ConnectTimeout(""), CannotSendError("ConnectTimeout")),
        (httpx.ConnectError(""), CannotSendError("ConnectFailed")),
        (httpx.PoolTimeout(""), CannotSendError("NoConnection")),
        (httpx.ReadTimeout(""), _NoAnswerError("ResponseTimeout")),
        (TimeoutError(), _NoAnswerError("ResponseTimeout")),
        (httpx.ReadError(""), _NoAnswerError("ConnectionLost")),
        (httpx.RemoteProtocolError(""), _NoAnswerError("ConnectionLost")),
        (httpx.StreamConsumed(), _NoAnswerError("ConnectionLost")),
        (httpx.InvalidURL(""), _NoAnswerError("ConnectionLost")),
        (ssl.SSLError(), _NoAnswerError("ConnectionLost")),
        (RuntimeError(), CannotSendError("CredentialReplaced")),
    ],
)
def test_errors_of_httpx_by_whether_the_request_may_have_arrived(
    error: Exception, translated: Exception
) -> None:
    with pytest.raises(type(translated)) as caught, _network_errors():
        raise error
    assert str(caught.value) == str(translated)
