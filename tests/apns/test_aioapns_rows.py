"""The defects of stock aioapns 4.0, one test each: the relay must not have them.

    pytest tests/apns/test_aioapns_rows.py                    ours: all pass
    pytest tests/apns/test_aioapns_rows.py --stock-aioapns    aioapns as it is

Comments name the place in aioapns. A hang shows as TimeoutError.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest
from aioapns.connection import APNsKeyConnectionPool
from hyperframe.frame import WindowUpdateFrame

from relay.apns.connection import Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender
from relay.core.accounts import Environment
from tests.apns.clients import (
    FAST,
    OK,
    TOPIC,
    Client,
    Outcome,
    new_id,
    new_key,
    outcomes,
)
from tests.apns.scripted_server import Peer, ScriptedServer, Tls, hang
from tests.eventually import eventually, loop_turns, nothing_happens_for
from tests.factories import make_credential, make_send_batch

Start = Callable[..., Awaitable[ScriptedServer]]
Connect = Callable[..., Client]

LIMIT = 10.0 if "--stock-aioapns" in sys.argv else 30.0
"""Seconds after which a test calls it a hang: ours is given more, because a busy machine is no failure."""


def within(seconds: float = LIMIT) -> asyncio.Timeout:
    return asyncio.timeout(seconds)


async def test_all_is_well(start: Start, connect: Connect) -> None:
    """Control of the experiment: both clients pass."""
    server = await start(lambda peer: peer.serve())
    async with within():
        assert await connect(server).push(20) == [OK] * 20


# on_response_received / on_data_received: an error without a body, or without `reason`, never resolves


@pytest.mark.parametrize("body", [b"", b"{}"], ids=["no body", "no reason"])
async def test_error_without_reason(start: Start, connect: Connect, body: bytes) -> None:
    server = await start(lambda peer: peer.serve(400, body))
    async with within():
        assert await connect(server).push() == [Outcome("answered", 400, "")]


# H2Protocol.data_received: RST_STREAM hangs the push, and its channel is never given back


async def test_reset_ends_the_push_and_frees_the_stream(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        peer.reset(await peer.request(), 0x2)
        await peer.serve()

    server = await start(script, {3: 1})
    client = connect(server)
    async with within():
        first = await client.push()
        assert first[0].fate in {"unknown", "raised"}
        assert await client.push() == [OK]


# on_data_received: a split body, HTML or [] kills the connection, and all its pushes are sent again


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b'{"reason": "Bad', b'DeviceToken"}'], "BadDeviceToken"),
        ([b"<html>Bad gateway</html>"], ""),
        ([b"[]"], ""),
        ([b"\xff\xfe"], ""),
    ],
    ids=["split", "html", "list", "not utf-8"],
)
async def test_odd_body_affects_no_other_push(
    start: Start, connect: Connect, pieces: list[bytes], reason: str
) -> None:
    async def script(peer: Peer) -> None:
        first, second = await peer.request(), await peer.request()
        peer.headers(first, [(":status", "400"), ("apns-id", first.headers["apns-id"])])
        for at, piece in enumerate(pieces):
            peer.data(first, piece, end=at == len(pieces) - 1)
        await peer.pause(0.1)
        peer.answer(second)
        await peer.serve()

    server = await start(script)
    async with within():
        assert sorted(await connect(server).push(2)) == sorted([Outcome("answered", 400, reason), OK])
    assert len(server.requests) == 2


# same: answers are matched by the echoed apns-id


@pytest.mark.parametrize("echo", ["", "other", "upper"])
async def test_answer_belongs_to_its_stream(start: Start, connect: Connect, echo: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        upper = request.headers["apns-id"].upper()
        peer.answer(request, apns_id={"": "", "other": new_id(), "upper": upper}[echo])

    server = await start(script)
    async with within():
        assert await connect(server).push() == [OK]


async def test_two_in_flight_with_one_id(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        for request in [await peer.request(), await peer.request()]:
            peer.answer(request)

    server = await start(script)
    apns_id = new_id()
    async with within():
        assert await connect(server).push(2, ids=[apns_id, apns_id]) == [OK, OK]


# same: the receive window is never replenished


async def test_error_bodies_without_end(start: Start, connect: Connect) -> None:
    """A server that keeps to flow control can go on answering errors on one connection for ever."""
    body = b'{"reason": "BadDeviceToken", "padding": "%b"}' % (b"x" * 4_000)
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent

        def window_has_room() -> bool:
            return sent + len(body) <= 65_535 + peer.windows.get(0, 0)

        while True:
            request = await peer.request()
            await eventually(window_has_room)
            sent += len(body)
            peer.answer(request, 400, body)

    server = await start(script)
    client = connect(server)
    async with within():
        for _ in range(4):
            assert await client.push(100) == [Outcome("answered", 400, "BadDeviceToken")] * 100
    assert sent > 1_500_000
    assert len(server.peers) == 1


# on_response_received, connection_lost: a cancelled push kills the connection


async def test_cancelled_push_affects_no_other_push(start: Start, connect: Connect) -> None:
    both_came, given_up = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        first, second = await peer.request(), await peer.request()
        both_came.set()
        await given_up.wait()
        peer.answer(first)
        peer.answer(second)
        await peer.serve()

    server = await start(script)
    client = connect(server)
    async with within():
        impatient = asyncio.ensure_future(client.push())
        patient = asyncio.ensure_future(client.push())
        await both_came.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        given_up.set()
        assert await patient == [OK]
        assert await client.push() == [OK]
    assert len(server.peers) == 1
    assert len(server.requests) == 3


# on_connection_terminated: GOAWAY closes at once, ignores last_stream_id, everything is sent again


async def test_goaway_drains(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        requests = [await peer.request() for _ in range(10)]
        peer.go_away(requests[4].stream_id, debug=b'{"reason": "Shutdown"}')
        await peer.pause(0.05)
        for request in requests[:5]:
            peer.answer(request)

    server = await start(script)
    async with within():
        outcomes = await connect(server).push(10)
    assert outcomes[:5] == [OK] * 5
    assert outcomes[5:] == [Outcome("not_sent", 0, "GoAway:Shutdown")] * 5
    assert len(server.requests) == 10


# refresh_inactivity_timer: a slow answer becomes several copies (the time is shortened to 0.3 s for stock)


async def test_slow_answer_is_waited_for(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.pause(0.8)
        peer.answer(request)

    server = await start(script)
    async with within():
        assert await connect(server, patience=0.3).push() == [OK]
    assert len(server.requests) == 1


# DynamicBoundedSemaphore: 1 -> 1000 can stay stuck at 2; shrinking lets sends through


async def test_streams_grow_from_one_to_many(start: Start, connect: Connect) -> None:
    """After the first answer the server grants 1000 streams: 200 waiting pushes must all arrive."""

    async def script(peer: Peer) -> None:
        first = await peer.request()
        peer.set({3: 1_000})
        peer.answer(first)
        requests = [await peer.request() for _ in range(199)]
        for request in requests:
            peer.answer(request)

    server = await start(script, {3: 1})
    async with within():
        assert await connect(server).push(200) == [OK] * 200


async def test_streams_shrink(start: Start, connect: Connect) -> None:
    """10 streams in use, then 2 granted: no further one is opened before 9 have ended."""
    shrunk = asyncio.Event()
    early = 0

    async def script(peer: Peer) -> None:
        nonlocal early
        requests = [await peer.request() for _ in range(10)]
        peer.set({3: 2})
        await peer.pause(0.1)
        shrunk.set()
        await nothing_happens_for(0.3)
        early = len(peer.requests) - 10
        for request in requests[1:]:
            peer.answer(request)
        peer.answer(await peer.request())
        peer.answer(requests[0])
        await peer.serve()

    server = await start(script, {3: 10})
    client = connect(server)
    async with within():
        first = asyncio.ensure_future(client.push(10))
        await shrunk.wait()
        assert await client.push(10) == [OK] * 10
        assert await first == [OK] * 10
    assert early == 0


# ChannelPool(1000): assumes 1000 streams before SETTINGS arrives


async def test_nothing_before_settings(start: Start, connect: Connect) -> None:
    early = 0

    async def script(peer: Peer) -> None:
        nonlocal early
        await nothing_happens_for(0.3)
        early = len(peer.requests)
        peer.set({3: 1})
        await peer.serve()

    server = await start(script, silent=True)
    async with within():
        assert await connect(server).push(20) == [OK] * 20
    assert early == 0


# send_notification: failures after send_headers leave an orphan stream; a bad key raises at each send


async def test_payload_larger_than_the_window(start: Start, connect: Connect) -> None:
    """A stream whose window first allows 100 octets: the payload follows in parts, without a remainder."""

    async def script(peer: Peer) -> None:
        for _ in range(3):
            request = await peer.head()
            while not request.ended:
                await peer.pause(0.01)
                peer.send(WindowUpdateFrame(request.stream_id, window_increment=300))
            peer.answer(request)

    server = await start(script, {3: 1, 4: 100})
    payload = b'{"aps":{"alert":"%b"}}' % (b"x" * 2_000)
    client = connect(server)
    async with within():
        for _ in range(3):
            assert await client.push(payload=payload) == [OK]
    assert [len(request.body) >= 2_000 for request in server.requests] == [True] * 3


async def test_bad_key_is_an_answer(start: Start, connect: Connect) -> None:
    server = await start(lambda peer: peer.serve())
    async with within():
        outcomes = await connect(server, key="not a key").push(2)
    assert outcomes == [Outcome("not_sent", 0, "BadCredential")] * 2
    assert not server.peers


# acquire: if all connections die while it polls, it loops for ever; a closing connection is picked first


async def test_connections_die_while_a_push_waits(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.pause(0.15)
        peer.abort()

    server = await start(script, {3: 1})
    client = connect(server)
    async with within():
        outcomes = await asyncio.gather(client.push(), client.push(), client.push())
    fates = sorted(outcome.fate for [outcome] in outcomes)
    assert fates == ["not_sent", "not_sent", "unknown"]
    assert len(server.requests) == 1


async def test_closing_connection_is_not_picked(start: Start, connect: Connect) -> None:
    closing, others_answered = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.serve()
        first = await peer.request()
        second = await peer.request()
        peer.go_away(second.stream_id)
        closing.set()
        await others_answered.wait()
        peer.answer(first)
        await peer.pause(0.1)
        peer.answer(second)

    server = await start(script)
    client = connect(server, timing=FAST)
    async with within():
        early = asyncio.ensure_future(client.push(2))
        await closing.wait()
        await loop_turns(20)  # in which the client reads the GOAWAY
        assert await client.push(3) == [OK] * 3
        others_answered.set()
        assert await early == [OK] * 2
    assert [len(peer.requests) for peer in server.peers] == [2, 3]


# create_connection: a JWT provider per connection; no connect timeout; no ALPN


async def test_one_token_for_all_connections(start: Start, connect: Connect) -> None:
    second_connection = asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        if peer.number:
            second_connection.set()
        await second_connection.wait()
        peer.answer(request)
        await peer.serve()

    server = await start(script, {3: 1})
    client = connect(server, max_connections=2)
    async with within():
        first = asyncio.ensure_future(client.push())
        await eventually(lambda: server.requests)
        await nothing_happens_for(1.1)  # the iat of a JWT is in seconds: a newer one would differ
        outcomes = [await client.push(), await client.push(), await client.push()]
        outcomes.append(await first)
    assert outcomes == [[OK]] * 4
    assert len(server.peers) == 2
    assert len({request.headers["authorization"] for request in server.requests}) == 1


async def test_connect_timeout(start: Start, connect: Connect) -> None:
    """TLS, and then nothing."""
    server = await start(hang, silent=True)
    client = connect(server, timing=Timing(connect=0.3, tick=0.05, drain=0.2))
    async with within():
        assert await client.push() == [Outcome("not_sent", 0, "ConnectTimeout")]


async def test_alpn(start: Start, connect: Connect) -> None:
    server = await start(lambda peer: peer.serve())
    async with within():
        assert await connect(server).push() == [OK]
    tls = server.peers[0].writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() == "h2"


async def test_server_without_http2(
    start: Start, connect: Connect, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tls = Tls.make(tmp_path_factory.mktemp("http11"), alpn=("http/1.1",))
    server = await start(lambda peer: peer.serve(), tls=tls)
    async with within():
        [outcome] = await connect(server).push()
    assert outcome.fate == "not_sent"
    assert outcome.reason in {"NoHttp2", "TlsFailed"}


# JWTAuthorizationHeaderProvider: after ExpiredProviderToken the same token for up to 30 minutes


async def test_expired_provider_token(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection closes and that token is not sent again: the push reports it, or a new token is used."""

    async def script(peer: Peer) -> None:
        await peer.serve(403, b'{"reason": "ExpiredProviderToken"}')

    monkeypatch.setattr(
        "relay.apns.provider_token.FIRST_PAUSE_SECONDS", 60.0
    )  # a second may pass here by itself
    server = await start(script)
    client = connect(server)
    async with within():
        assert await client.push() == [Outcome("answered", 403, "ExpiredProviderToken")]
        again = await client.push()
    # It goes by the age of the first, which was issued at a full multiple of 45 minutes.
    assert again == [Outcome("not_sent", 0, "ProviderTokenExpired")] or len(server.requests) == 2
    tokens = [request.headers["authorization"] for request in server.requests]
    assert len(tokens) == len(set(tokens))


# pool.send_notification: silent re-sends, the cause is lost, 1 s sleeps


async def test_cause_is_reported_and_nothing_is_sent_again(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.abort()

    server = await start(script)
    async with within():
        assert await connect(server).push() == [Outcome("unknown", 0, "ConnectionLost")]
    assert len(server.requests) == 1


async def test_no_connection_is_reported_at_once(start: Start, connect: Connect) -> None:
    server = await start(lambda peer: peer.serve())
    server._server.close()
    await server._server.wait_closed()
    async with within(3):
        assert await connect(server).push() == [Outcome("not_sent", 0, "ConnectFailed")]


# time_to_live: relative only, and 0 means "now"


async def test_expiration_is_absolute(start: Start, connect: Connect) -> None:
    server = await start(lambda peer: peer.serve())
    client = connect(server)
    async with within():
        await client.push(expiration=0)
        await client.push(expiration=1_900_000_000)
        await client.push()
    assert [request.headers.get("apns-expiration") for request in server.requests] == [
        "0",
        "1900000000",
        None,
    ]


# PushType: lacks location, pushtotalk, widgets, controls


@pytest.mark.parametrize("push_type", ["location", "pushtotalk", "widgets", "controls"])
async def test_push_types(start: Start, connect: Connect, push_type: str) -> None:
    server = await start(lambda peer: peer.serve())
    async with within():
        assert await connect(server).push(push_type=push_type) == [OK]
    assert server.requests[0].headers["apns-push-type"] == push_type


# the pool's constructor captures the event loop


def test_made_outside_a_loop(tls: Tls, request: pytest.FixtureRequest) -> None:
    """It can be made before the loop runs, as a composition root would."""
    if request.config.getoption("--stock-aioapns", default=False):
        APNsKeyConnectionPool(new_key(), "KEY0000000", "TEAM000000", TOPIC)
        return
    endpoints: dict[Environment, Endpoint] = {}
    sender = ApnsSender(endpoints, timing=FAST)

    async def push() -> list[Outcome]:
        async with ScriptedServer(lambda peer: peer.serve(), tls) as server, within():
            endpoints[Environment.PRODUCTION] = Endpoint("localhost", server.port, tls.ca_file)
            batch = make_send_batch()
            await sender.send(make_credential(secret=new_key()), [batch])
            await sender.aclose()
            return outcomes(batch)

    assert asyncio.run(push()) == [OK]
