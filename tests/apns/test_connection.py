"""A connection against a scripted server: its state, its end, and the answers after which it is not used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from relay.apns.connection import ApnsConnection, Submission, Timing
from relay.apns.pool import Endpoint, protocol_class, tls_context
from relay.apns.provider_token import ProviderToken
from relay.apns.streams import not_sent
from relay.apns.timer_wheel import TimerWheel
from relay.core.delivery.sending import SendBatch
from tests.apns.clients import FAST, OK, Outcome, outcomes
from tests.apns.scripted_server import Peer, Script, ScriptedServer, hang
from tests.eventually import eventually, nothing_happens_for
from tests.factories import make_send_batch

Start = Callable[..., Awaitable[ScriptedServer]]


@asynccontextmanager
async def connected(
    server: ScriptedServer, provider: ProviderToken | None = None, timing: Timing = FAST
) -> AsyncIterator[ApnsConnection]:
    """An open connection to the server, without a callback for its loss."""
    endpoint = Endpoint("localhost", server.port, server.tls.ca_file)
    loop = asyncio.get_running_loop()
    new_connection = protocol_class(endpoint, timing, TimerWheel(loop, timing.tick))
    _, connection = await loop.create_connection(
        lambda: new_connection("", loop, None, provider),
        endpoint.host,
        endpoint.port,
        ssl=tls_context(endpoint.ca_file),
    )
    await connection.opened()
    try:
        yield connection
    finally:
        connection.close()
        await connection.lost()


class Sent(Submission):
    """Batches that a connection was handed."""

    def __init__(self, *batches: SendBatch) -> None:
        self.done = asyncio.Event()
        self.ends = 0
        super().__init__(batches, self._end)

    def _end(self) -> None:
        self.ends += 1
        self.done.set()


def send(connection: ApnsConnection, *batches: SendBatch, authorization: str = "") -> Sent:
    """Hand batches to a connection."""
    sent = Sent(*batches)
    sent.start([(connection, batches)], authorization)
    return sent


def script_of(*answers: tuple[int, bytes], together: bool = False) -> Script:
    """Return a script that answers requests in turn; `together`: only once all have arrived."""

    async def script(peer: Peer) -> None:
        requests = [await peer.request() for _ in answers] if together else []
        for status, body in answers:
            peer.answer(requests.pop(0) if together else await peer.request(), status, body)

    return script


async def test_streams_and_the_limit_of_the_server_are_reported(start: Start) -> None:
    server = await start(hang, {3: 7})
    async with connected(server) as connection:
        assert (connection.granted, connection.streams, connection.load) == (7, 0, 0)
        send(connection, make_send_batch(size=9))
        await eventually(lambda: connection.streams == 7)
        assert connection.load == 9
        assert connection.is_busy
        assert repr(connection) == "<ApnsConnection open, 7 in flight, 2 queued>"


async def test_a_server_that_names_no_number_of_streams(start: Start) -> None:
    server = await start(hang, {4: 65_535})
    async with connected(server) as connection:
        assert connection.granted is None


async def test_an_empty_submission_is_done_at_once(start: Start) -> None:
    server = await start(hang)
    async with connected(server) as connection:
        assert send(connection, make_send_batch(size=0)).ends == 1
        assert send(connection).ends == 1


async def test_a_submission_that_was_withdrawn_after_it_left_still_ends(start: Start) -> None:
    """It ends at once, as not sent where it had not left, and the connection stays."""
    answering = asyncio.Event()

    async def script(peer: Peer) -> None:
        requests = [await peer.request()]
        await answering.wait()
        peer.answer(requests.pop())
        await peer.serve()

    server = await start(script, {3: 1})
    async with connected(server) as connection:
        batch = make_send_batch(size=2)
        sent = send(connection, batch)
        await eventually(lambda: server.requests)
        sent.withdraw()
        assert batch.answers[1] == not_sent("Cancelled")
        answering.set()
        await sent.done.wait()
        await eventually(lambda: connection.load == 0)
        assert sent.ends == 1
        other = make_send_batch()
        await send(connection, other).done.wait()
        assert outcomes(other) == [OK]


async def test_aioapns_cannot_send_through_it(start: Start) -> None:
    server = await start(hang)
    async with connected(server) as connection:
        with pytest.raises(NotImplementedError):
            await connection.send_notification(object())


async def test_closing_ends_pushes_in_flight_and_may_be_repeated(start: Start) -> None:
    server = await start(hang)
    async with connected(server) as connection:
        batch = make_send_batch(size=2)
        sent = send(connection, batch)
        await eventually(lambda: connection.streams == 2)
        connection.close()
        assert connection.transport is not None
        assert connection.transport.is_closing()
        connection.close()
        await sent.done.wait()
        assert sent.ends == 1
        assert outcomes(batch) == [Outcome("unknown", 0, "ConnectionClosed")] * 2
        assert not connection.usable
        await connection.lost()
    await eventually(lambda: server.peers[0].goaway == 0)


async def test_closing_before_there_is_a_socket() -> None:
    connection = ApnsConnection("")
    assert repr(connection) == "<ApnsConnection opening, 0 in flight, 0 queued>"
    assert not connection.usable
    assert connection.is_busy
    connection.close()
    batch = make_send_batch()
    assert send(connection, batch).ends == 1
    assert outcomes(batch) == [Outcome("not_sent", 0, "ConnectionClosed")]


async def test_an_expired_provider_token_ends_the_connection_once(start: Start, key: str) -> None:
    """Two answers in one read: the second finds the connection draining already."""
    expired = (403, b'{"reason":"ExpiredProviderToken"}')
    provider = ProviderToken(key, "KEY0000000", "TEAM000000", lambda: 1_700_000_000.0)
    server = await start(script_of(expired, expired, together=True))
    async with connected(server, provider) as connection:
        batch = make_send_batch(size=2)
        await send(connection, batch, authorization=provider.get_header()).done.wait()
        assert outcomes(batch) == [Outcome("answered", 403, "ExpiredProviderToken")] * 2
        assert not connection.usable
        await connection.lost()


async def test_a_shutdown_leaves_the_provider_token_alone(start: Start, key: str) -> None:
    provider = ProviderToken(key, "KEY0000000", "TEAM000000", lambda: 1_700_000_000.0)
    header = provider.get_header()
    server = await start(script_of((503, b'{"reason":"Shutdown"}')))
    async with connected(server, provider) as connection:
        await send(connection, make_send_batch(), authorization=header).done.wait()
        assert not connection.usable
        assert provider.get_header() == header


@pytest.mark.parametrize("with_provider", [True, False])
async def test_too_many_token_updates_hold_the_provider_token(
    start: Start, key: str, with_provider: bool
) -> None:
    """For 20 minutes, though it is old enough to be replaced. A certificate has none to hold."""
    now = [2_700.0 * 629_630]
    provider = ProviderToken(key, "KEY0000000", "TEAM000000", lambda: now[0])
    header = provider.get_header()
    now[0] += 46 * 60
    server = await start(script_of((429, b'{"reason":"TooManyProviderTokenUpdates"}')))
    async with connected(server, provider if with_provider else None) as connection:
        await send(connection, make_send_batch(), authorization=header).done.wait()
        assert connection.usable
    assert (provider.get_header() == header) is with_provider
    now[0] += 20 * 60
    assert provider.get_header() != header


async def test_a_connection_that_ends_before_settings_does_not_open(start: Start) -> None:
    async def script(peer: Peer) -> None:
        peer.abort()

    server = await start(script, silent=True)
    with pytest.raises(ConnectionError):
        async with connected(server):
            pass


TICKS = 0.3
"""Seconds: many ticks of these timings."""


async def test_pushes_in_the_queue_wait_as_long_as_the_response_may_take(start: Start) -> None:
    server = await start(hang, {3: 1})
    async with connected(server, timing=Timing(tick=0.02)) as connection:
        send(connection, make_send_batch(size=2))
        await nothing_happens_for(TICKS)
        assert (connection.load, connection.streams) == (2, 1)
        assert server.peers[0].pings == []


async def test_an_unanswered_ping_has_its_time(start: Start) -> None:
    async def script(peer: Peer) -> None:
        peer.answer_pings = False

    server = await start(script)
    async with connected(server, timing=Timing(tick=0.02, idle=0.0, pong=30.0)) as connection:
        await eventually(lambda: server.peers[0].pings)
        await nothing_happens_for(TICKS)
        assert connection.usable
        assert len(server.peers[0].pings) == 1


async def test_a_violation_of_http2_is_logged_and_closes_the_connection(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.raw(bytes((0, 0, 4, 5, 4, 0, 0, 0, 1)) + bytes(4))

    caplog.set_level(logging.WARNING)
    server = await start(script)
    async with connected(server) as connection:
        batch = make_send_batch()
        await send(connection, batch).done.wait()
        assert outcomes(batch) == [Outcome("unknown", 0, "ProtocolError")]
        await connection.lost()
    await eventually(lambda: server.peers[0].goaway == 1)
    assert "PUSH_PROMISE, which we forbade" in caplog.text


async def test_nothing_is_written_while_the_buffer_is_full(start: Start) -> None:
    server = await start(script_of((200, b"")))
    async with connected(server) as connection:
        connection.pause_writing()
        sent = send(connection, make_send_batch())
        await nothing_happens_for(TICKS)
        assert server.requests == []
        connection.resume_writing()
        await sent.done.wait()


async def test_an_answered_ping_does_not_hold_the_provider_token(start: Start, key: str) -> None:
    now = [2_700.0 * 629_630]
    provider = ProviderToken(key, "KEY0000000", "TEAM000000", lambda: now[0])
    header = provider.get_header()
    now[0] += 46 * 60
    server = await start(hang)
    async with connected(server, provider, Timing(tick=0.02, idle=0.0)):
        await eventually(lambda: len(server.peers[0].pings) > 2)
    assert provider.get_header() != header


async def test_a_peer_that_reads_nothing_does_not_keep_a_closing_connection(start: Start) -> None:
    """asyncio alone would wait half a minute for the end of TLS."""

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    server = await start(script)
    async with connected(server, timing=Timing(drain=0.1)) as connection:
        await nothing_happens_for(TICKS)
        connection.close()
        async with asyncio.timeout(15):
            await connection.lost()


async def test_a_deadline_that_comes_after_the_end_changes_nothing(start: Start) -> None:
    server = await start(hang)
    async with connected(server) as connection:
        connection.close()
        await connection.lost()
        connection.on_deadline()
        assert connection.wheel_slot is None


async def test_an_idle_connection_has_one_deadline_and_that_is_its_next_ping(start: Start) -> None:
    server = await start(script_of((200, b""), (200, b"")))
    async with connected(server, timing=Timing(tick=0.05, idle=1_000.0)) as connection:
        for _ in range(2):
            await send(connection, make_send_batch()).done.wait()
            await eventually(lambda: connection.load == 0)
            assert connection.wheel_slot is not None
            seconds = connection.wheel_slot * 0.05 - asyncio.get_running_loop().time()
            assert 890.0 < seconds < 1_001.0
            assert repr(connection) == "<ApnsConnection open, 0 in flight, 0 queued>"
