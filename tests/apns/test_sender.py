"""Sender, pool and connection over real TLS: time, loss, growth and cancellation, which the codec alone cannot show."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import stat
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from relay.apns.connection import ApnsConnection, Timing
from relay.apns.pool import Endpoint, certificate_file
from relay.apns.sender import APPLE, ApnsSender
from relay.core.accounts import Environment
from relay.core.delivery.sending import DELIVERED, Credential, SendBatch, Sender
from tests.apns.clients import FAST, OK, Ours, Outcome, new_key, outcomes
from tests.apns.scripted_server import Peer, Request, ScriptedServer, Tls, hang
from tests.eventually import eventually, loop_turns, nothing_happens_for
from tests.factories import make_credential, make_send_batch

Start = Callable[..., Awaitable[ScriptedServer]]
Connect = Callable[..., Ours]


@pytest.fixture(autouse=True)
def only_ours(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--stock-aioapns", default=False):
        pytest.skip("about ours")


def within(seconds: float = 60.0) -> asyncio.Timeout:
    return asyncio.timeout(seconds)


async def serve(peer: Peer) -> None:
    await peer.serve()


def test_it_is_a_sender() -> None:
    sender: Sender = ApnsSender()
    assert sender
    assert APPLE[Environment.PRODUCTION] == Endpoint("api.push.apple.com", 443)
    assert APPLE[Environment.SANDBOX] == Endpoint("api.sandbox.push.apple.com", 443)


# Batches


async def test_many_batches_at_once(start: Start, connect: Connect) -> None:
    server = await start(serve)
    client = connect(server)
    batches = [make_send_batch(size=1, payload=b'{"n":%d}' % n) for n in range(200)] + [
        make_send_batch(size=300),
        make_send_batch(size=0),
    ]
    async with within():
        await client.sender.send(make_credential(secret=client.key), batches)
    assert all(answer is DELIVERED for batch in batches for answer in batch.answers)
    sent = {request.headers["apns-id"]: (request.token, request.body) for request in server.requests}
    assert len(server.requests) == 500
    for batch in batches:
        for apns_id, token in zip(batch.apns_ids, batch.device_tokens, strict=True):
            assert sent[apns_id] == (token, batch.payload)
    assert len(server.peers) == 1


async def test_mixed_answers_keep_their_index(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            last = request.token[-1]
            if last == "0":
                peer.answer(request, 410, b'{"reason": "Unregistered", "timestamp": 1700000000000}')
            elif last == "1":
                peer.reset(request, 7)
            else:
                peer.answer(request)

    server = await start(script)
    client = connect(server)
    tokens = [f"{n:060x}{n % 16:x}" for n in range(320)]
    batch = make_send_batch(size=320, device_tokens=tokens)
    async with within():
        await client.sender.send(make_credential(secret=client.key), [batch])
    expected = {"0": Outcome("answered", 410, "Unregistered"), "1": Outcome("not_sent", 0, "RefusedStream")}
    assert outcomes(batch) == [expected.get(token[-1], OK) for token in tokens]


async def test_answered_batches_are_freed_without_the_garbage_collector(
    start: Start, connect: Connect
) -> None:
    """Batches of a broadcast are large, and the garbage collector runs rarely."""
    server = await start(serve)
    client = connect(server)
    gc.collect()
    gc.disable()
    try:
        async with within():
            for _ in range(5):
                await client.sender.send(
                    make_credential(secret=client.key), [make_send_batch(size=700), make_send_batch(size=3)]
                )
        left = sum(isinstance(thing, SendBatch) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert left == 0


# Credentials and pools


async def test_new_version_gets_a_new_pool(start: Start, connect: Connect) -> None:
    server = await start(serve)
    client = connect(server)
    async with within():
        for version, secret in ((1, client.key), (2, new_key()), (2, client.key)):
            batch = make_send_batch()
            await client.sender.send(make_credential(secret=secret, version=version), [batch])
            assert outcomes(batch) == [OK]
    assert [len(peer.requests) for peer in server.peers] == [1, 2]
    assert server.peers[0].goaway == 0


async def test_credentials_do_not_share_connections(start: Start, connect: Connect) -> None:
    server = await start(serve)
    client = connect(server)
    async with within():
        for number in (1, 2, 1):
            await client.sender.send(
                make_credential(secret=client.key, credential_id=number), [make_send_batch()]
            )
    assert [len(peer.requests) for peer in server.peers] == [2, 1]


async def test_forget_drains(start: Start, connect: Connect) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        seen.set()
        await peer.pause(0.2)
        peer.answer(request)

    server = await start(script, {3: 1})
    client = connect(server, timing=Timing(drain=15, tick=0.05))
    async with within():
        pushes = asyncio.ensure_future(client.push(3))
        await seen.wait()
        await client.sender.forget(1)
        forgotten = Outcome("not_sent", 0, "CredentialForgotten")
        assert await pushes == [OK, forgotten, forgotten]
        await client.sender.forget(99)
    assert server.peers[0].goaway == 0


async def test_forget_while_connecting(start: Start, connect: Connect) -> None:
    server = await start(serve, silent=True)
    client = connect(server)
    async with within():
        pushes = asyncio.ensure_future(client.push(2))
        await eventually(lambda: server.peers)
        await client.sender.forget(1)
        assert await pushes == [Outcome("not_sent", 0, "Closed")] * 2


async def test_closed_sender(start: Start, connect: Connect) -> None:
    client = connect(await start(serve))
    async with within():
        assert await client.push() == [OK]
        await client.sender.aclose()
        assert await client.push() == [Outcome("not_sent", 0, "Closed")]
        await client.sender.aclose()


async def test_aclose_does_not_wait_for_ever(start: Start, connect: Connect) -> None:
    server = await start(hang)
    client = connect(server, timing=Timing(drain=0.2, tick=0.05))
    async with within():
        pushes = asyncio.ensure_future(client.push(2))
        await eventually(lambda: len(server.requests) == 2)
        await client.sender.aclose()
        assert await pushes == [Outcome("unknown", 0, "ConnectionClosed")] * 2


async def test_certificate(start: Start, tls: Tls, tmp_path: Path) -> None:
    """The PEM is in a file only while it is loaded, and the server receives the certificate."""
    authority = trustme.CA()
    issued = authority.issue_cert("com.example.app")
    pem = issued.private_key_and_cert_chain_pem.bytes().decode()
    authority.configure_trust(tls.context)
    tls.context.verify_mode = 1  # ssl.CERT_OPTIONAL
    server = await start(serve)
    endpoint = Endpoint("localhost", server.port, tls.ca_file)
    sender = ApnsSender(dict.fromkeys(Environment, endpoint), timing=FAST)
    before = set(os.listdir(tempfile.gettempdir()))
    batch = make_send_batch(size=5)
    async with within():
        await sender.send(
            make_credential(secret=pem, kind="certificate", bundle_id="com.example.app"), [batch]
        )
        assert outcomes(batch) == [OK] * 5
        peer = server.peers[0]
        assert peer.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await sender.aclose()
    assert "authorization" not in server.requests[0].headers
    left = {name for name in set(os.listdir(tempfile.gettempdir())) - before if name.endswith(".pem")}
    assert not left


@pytest.mark.parametrize("kind", ["token", "certificate"])
@pytest.mark.parametrize(
    "secret",
    ["", "nonsense", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----"],
)
async def test_bad_secret(kind: str, secret: str) -> None:
    sender = ApnsSender({Environment.PRODUCTION: Endpoint("localhost", 1)}, timing=FAST)
    batch = make_send_batch(size=2)
    await sender.send(make_credential(secret=secret, kind=kind, bundle_id="com.example.app"), [batch])
    assert outcomes(batch) == [Outcome("not_sent", 0, "BadCredential")] * 2


async def test_untrusted_server(start: Start, key: str, tmp_path: Path) -> None:
    server = await start(serve)
    other = Tls.make(tmp_path)
    sender = ApnsSender(
        {Environment.PRODUCTION: Endpoint("localhost", server.port, other.ca_file)}, timing=FAST
    )
    batch = make_send_batch()
    async with within():
        await sender.send(make_credential(secret=key), [batch])
    assert outcomes(batch) == [Outcome("not_sent", 0, "TlsFailed")]


async def test_unknown_host(key: str) -> None:
    sender = ApnsSender({Environment.PRODUCTION: Endpoint("nowhere.invalid")}, timing=FAST)
    batch = make_send_batch()
    async with within():
        await sender.send(make_credential(secret=key), [batch])
    assert outcomes(batch) == [Outcome("not_sent", 0, "ConnectFailed")]


# Several connections


async def test_pool_grows_when_busy(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.pause(0.02)
            peer.answer(request)

    server = await start(script, {3: 2})
    client = connect(server, max_connections=3)
    pushes: list[asyncio.Task[list[Outcome]]] = []
    async with within():

        def push_until_grown() -> bool:
            pushes.append(asyncio.create_task(client.push(4)))
            return len(server.peers) == 3 and min(len(peer.requests) for peer in server.peers) > 5

        await eventually(push_until_grown, poll_seconds=0.02)
        assert await asyncio.gather(*pushes) == [[OK] * 4] * len(pushes)
    assert len(server.peers) == 3
    assert len(server.requests) == 4 * len(pushes)


async def test_idle_pool_does_not_grow(start: Start, connect: Connect) -> None:
    server = await start(serve)
    client = connect(server, max_connections=3)
    async with within():
        for _ in range(20):
            assert await client.push(50) == [OK] * 50
    assert len(server.peers) == 1


async def test_failed_connects_are_spaced(start: Start, connect: Connect) -> None:
    server = await start(serve)
    server._server.close()
    await server._server.wait_closed()
    client = connect(server)
    attempts = 0
    pool = client.sender._pool(make_credential(secret=client.key))
    original = pool.create_connection

    async def counted() -> ApnsConnection:
        nonlocal attempts
        attempts += 1
        return await original()

    pool.create_connection = counted  # type: ignore[method-assign]
    async with within():
        for _ in range(30):
            assert await client.push() == [Outcome("not_sent", 0, "ConnectFailed")]
    assert attempts == 1


# Time


async def test_response_timeout(start: Start, connect: Connect) -> None:
    """A push without an answer ends; other pushes and the connection are not affected."""

    async def script(peer: Peer) -> None:
        await peer.request()
        while True:
            await peer.pause(0.1)
            peer.answer(await peer.request())

    server = await start(script)
    client = connect(server, timing=Timing(response=4, quiet=60, tick=0.05, drain=0.2))
    async with within():
        first = asyncio.ensure_future(client.push())
        await eventually(lambda: server.requests)
        assert await client.push() == [OK]
        assert await first == [Outcome("unknown", 0, "ResponseTimeout")]
        assert await client.push() == [OK]
    assert len(server.peers) == 1
    assert server.peers[0].resets == {1: 8}


async def test_dead_peer(start: Start, connect: Connect) -> None:
    """A server that does not even answer PING: the connection closes before the response deadline."""
    server = await start(hang, {3: 1})
    client = connect(server, timing=Timing(response=60, quiet=0.2, pong=0.3, tick=0.05, drain=0.2))
    async with within():
        pushes = asyncio.ensure_future(client.push(2))
        await eventually(lambda: server.requests)
        server.peers[0].answer_pings = False
        lost = await pushes
    assert lost == [Outcome("unknown", 0, "PingTimeout"), Outcome("not_sent", 0, "PingTimeout")]


async def test_slow_but_alive(start: Start, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        await eventually(lambda: len(peer.pings) >= 3)
        peer.answer(request)

    server = await start(script)
    client = connect(server, timing=Timing(quiet=0.1, pong=10, tick=0.05, drain=0.2))
    async with within():
        assert await client.push() == [OK]


async def test_idle_ping(start: Start, connect: Connect) -> None:
    server = await start(serve)
    client = connect(server, timing=Timing(idle=0.3, tick=0.05, drain=0.2))
    async with within():
        assert await client.push() == [OK]
        await eventually(lambda: len(server.peers[0].pings) >= 2)
        assert await client.push() == [OK]
    assert len(server.peers) == 1


async def test_no_streams_granted(start: Start, connect: Connect) -> None:
    server = await start(serve, {3: 0})
    client = connect(server, timing=Timing(response=0.4, quiet=60, tick=0.05, drain=0.2))
    async with within():
        assert await client.push(3) == [Outcome("not_sent", 0, "Stalled")] * 3


async def test_server_that_does_not_read(start: Start, connect: Connect) -> None:
    """Writing pauses when its buffers are full: memory stays bounded, and every push ends."""

    async def script(peer: Peer) -> None:
        peer.set({4: 2**31 - 1})
        from hyperframe.frame import WindowUpdateFrame

        peer.send(WindowUpdateFrame(0, window_increment=2**31 - 1 - 65_535))
        await peer.pause(0.1)
        peer.writer.transport.pause_reading()
        await hang(peer)

    server = await start(script, {3: 100_000})
    client = connect(server, timing=Timing(response=1.0, quiet=60, tick=0.05, drain=0.2))
    async with within(60):
        await client.push()
        await eventually(lambda: not server.peers[0].writer.transport.is_reading())
        [connection] = client.sender._pool(make_credential(secret=client.key)).connections
        transport = connection.transport
        assert transport is not None
        pushes = asyncio.ensure_future(client.push(20_000, payload=b"x" * 4_000))
        await eventually(transport.get_write_buffer_size)
        await nothing_happens_for(0.3)  # in which the buffer could grow
        assert transport.get_write_buffer_size() < 2_000_000
        ended = await pushes
    assert {outcome.fate for outcome in ended} == {"unknown", "not_sent"}
    assert sum(outcome.fate == "not_sent" for outcome in ended) > 5_000


# Loss


@pytest.mark.parametrize("how", ["abort", "close", "garbage"])
async def test_connection_lost_settles_all(start: Start, connect: Connect, how: str) -> None:
    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.serve()
        for _ in range(3):
            await peer.request()
        if how == "garbage":
            peer.raw(b"\xff" * 100)
        else:
            getattr(peer, how)()

    server = await start(script, {3: 3})
    client = connect(server)
    reason = "ProtocolError" if how == "garbage" else "ConnectionLost"
    async with within():
        ended = await client.push(5)
        assert ended == [Outcome("unknown", 0, reason)] * 3 + [Outcome("not_sent", 0, reason)] * 2
        assert await client.push(5) == [OK] * 5
    if how == "garbage":
        assert server.peers[0].goaway == 6


async def test_cancel_withdraws(start: Start, connect: Connect) -> None:
    held: list[Request] = []

    async def script(peer: Peer) -> None:
        held.append(await peer.request())
        await eventually(lambda: len(held) == 2)
        peer.answer(held[0])
        await peer.serve()

    server = await start(script, {3: 1})
    client = connect(server)
    batch = make_send_batch(size=10)
    async with within():
        task = asyncio.ensure_future(client.sender.send(make_credential(secret=client.key), [batch]))
        await eventually(lambda: held)
        other = asyncio.ensure_future(client.push(3))
        await loop_turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.append(held[0])
        assert await other == [OK] * 3
    assert outcomes(batch)[1:] == [Outcome("not_sent", 0, "Cancelled")] * 9
    assert batch.answers[0] is DELIVERED
    assert len(server.requests) == 4


async def test_cancel_while_connecting(start: Start, connect: Connect) -> None:
    """Other waiters still get the connection."""
    server = await start(serve)
    client = connect(server)
    async with within():
        first, second = asyncio.ensure_future(client.push()), asyncio.ensure_future(client.push())
        await loop_turns(2)
        first.cancel()
        assert await second == [OK]
        assert first.cancelled()
    assert len(server.requests) == 1


@pytest.mark.parametrize("reason", ["Shutdown", "IdleTimeout", "UnrelatedKeyIdInToken"])
async def test_unusable_connection_is_left(start: Start, connect: Connect, reason: str) -> None:
    async def script(peer: Peer) -> None:
        if not peer.number:
            peer.answer(await peer.request(), 503, b'{"reason": "%b"}' % reason.encode())
        await peer.serve()

    server = await start(script)
    client = connect(server)
    async with within():
        assert await client.push() == [Outcome("answered", 503, reason)]
        assert await client.push() == [OK]
    assert [len(peer.requests) for peer in server.peers] == [1, 1]


# Secrets


async def test_nothing_secret_in_logs_or_reprs(
    start: Start, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def script(peer: Peer) -> None:
        request = await peer.request()
        peer.answer(request, 410, b'{"reason": "Unregistered"}')
        await peer.request()
        peer.go_away(0, debug=b'{"reason": "Shutdown"}')

    server = await start(script)
    client = connect(server)
    batch = make_send_batch(size=2, payload=b'{"aps":{"alert":"a secret"}}')
    known = make_credential(secret=client.key)
    async with within():
        await client.sender.send(known, [batch])
        pool = client.sender._pool(known)
        shown = " ".join(map(repr, [pool.provider, *pool.connections, batch, known, client.sender]))
    text = caplog.text + shown
    secrets = [*batch.device_tokens, "a secret", "PRIVATE KEY", "bearer"]
    assert not [secret for secret in secrets if secret in text]


async def test_nothing_is_left_behind(start: Start, connect: Connect) -> None:
    """No task and no timer keeps a closed connection alive."""
    server = await start(serve)
    client = connect(server)
    async with within():
        await client.push()
        await client.sender.aclose()
        await loop_turns()
    gc.collect()
    assert not client.sender._closing
    assert not client.sender._pools


def test_private_file_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    with certificate_file(make_credential(secret="secret")) as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert Path(path).read_text() == "secret"
    assert not os.path.exists(path)


def test_credential_hides_its_secret() -> None:
    known: Credential = make_credential(secret="PEM")
    assert "PEM" not in repr(known)
