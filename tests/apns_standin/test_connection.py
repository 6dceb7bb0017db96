"""Connections of the stand-in: odd but legal clients are served, bad ones affect no others, the end is graceful."""

from __future__ import annotations

import asyncio
import json
import os
import ssl

import pytest
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from apns_standin import StandInLimits
from apns_standin.connection import CONNECTION_WINDOW_BYTES
from tests.eventually import eventually

from .raw_client import BUNDLE, PAYLOAD, TEAM, RawClient, running


async def test_a_body_in_many_data_frames_and_headers_in_many_frames():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        padding = [(f"x-{number}", os.urandom(400).hex()) for number in range(10)]
        # 8 KB of headers do not fit this frame size: CONTINUATION.
        client.h2.max_outbound_frame_size = 1024
        stream_id = client.begin(rig.headers(extra=[("content-length", str(len(PAYLOAD))), *padding]))
        for byte in PAYLOAD:
            client.h2.send_data(stream_id, bytes([byte]), pad_length=255)
        client.h2.end_stream(stream_id)
        client.flush()
        assert (await client.answer(stream_id)).status == 200
        [received] = await rig.apns.notifications(rig.token)
        assert received["payload"] == json.loads(PAYLOAD)


async def test_a_client_without_alpn_is_served():
    async with running() as rig, RawClient.connect(rig.apns, alpn=False) as client:
        assert (await client.push(rig.headers())).status == 200


async def test_the_receive_window_is_given_back():
    """More than the connection's window goes through it."""
    async with running() as rig, RawClient.connect(rig.apns) as client:
        parts = [b"x" * 15_000] * 4
        for _ in range(CONNECTION_WINDOW_BYTES // 60_000 + 20):
            assert (await client.push(rig.headers(), *parts)).status == 413
        assert (await client.push(rig.headers())).status == 200


async def test_requests_before_a_goaway_are_answered():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, 200, delay=0.05)
        other = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
        stream_id = client.begin(rig.headers(token=other))
        client.h2.send_data(stream_id, PAYLOAD, end_stream=True)
        late = client.begin(rig.headers())
        client.h2.send_data(late, PAYLOAD, end_stream=True)
        client.h2.close_connection()
        client.flush()
        client.h2.state_machine.state = ConnectionState.CLIENT_OPEN
        assert (await client.answer(stream_id)).status == 200
        assert (await client.answer(late)).status == 200
        async with asyncio.timeout(30):
            await client.closed.wait()


async def test_a_body_without_end_is_answered_before_its_end():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        stream_id = client.begin(rig.headers())

        def send_until_answered() -> bool:
            if client.answers[stream_id].done.is_set():
                return True
            if client.h2.local_flow_control_window(stream_id) >= 16_000:
                client.h2.send_data(stream_id, b"x" * 16_000)
                client.flush()
            return False

        await eventually(send_until_answered, poll_seconds=0.001)
        assert client.answers[stream_id].verdict == (413, "PayloadTooLarge")
        assert (await client.push(rig.headers())).status == 200


async def test_one_stream_until_the_first_accepted_push():
    async with running(limits=StandInLimits(initial_streams=1)) as rig, RawClient.connect(rig.apns) as client:
        assert client.h2.remote_settings.max_concurrent_streams == 1
        first = client.begin(rig.headers())
        refused = client.send(rig.headers(), PAYLOAD)
        assert (await client.answer(refused)).reset == ErrorCodes.REFUSED_STREAM
        client.h2.send_data(first, PAYLOAD, end_stream=True)
        client.flush()
        assert (await client.answer(first)).status == 200
        assert client.h2.remote_settings.max_concurrent_streams == 1000
        streams = [client.send(rig.headers(), PAYLOAD) for _ in range(500)]
        assert {(await client.answer(stream_id)).status for stream_id in streams} == {200}
        assert rig.apns.statistics()["refused"] == 1


async def test_an_error_does_not_raise_the_limit():
    async with running(limits=StandInLimits(initial_streams=1)) as rig, RawClient.connect(rig.apns) as client:
        assert (await client.push(rig.headers(apns_topic=None))).status == 400
        assert (await client.push(rig.headers(apns_topic=None))).status == 400
        assert client.h2.remote_settings.max_concurrent_streams == 1


async def test_an_answer_waits_for_the_clients_window():
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 5}
    async with running() as rig, RawClient.connect(rig.apns, settings=settings) as client:
        rig.apns.answer(rig.token, 500, body="x" * 300)
        answer = await client.push(rig.headers())
        assert (answer.status, answer.body) == (500, b"x" * 300)
        assert rig.apns.statistics()["open_streams"] == 0


@pytest.mark.parametrize(
    "rubbish",
    [
        os.urandom(5000),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 20_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
    ],
)
async def test_rubbish_ends_its_own_connection_only(rubbish):
    async with running() as rig, RawClient.connect(rig.apns) as client:
        context = ssl.create_default_context(cadata=rig.apns.ca_pem)
        port = rig.apns.listeners["production"].port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(rubbish)
        await writer.drain()
        if len(rubbish) > 24:
            async with asyncio.timeout(30):
                await reader.read()
        writer.transport.abort()
        assert (await client.push(rig.headers())).status == 200


async def test_a_malformed_request_does_not_harm_other_connections():
    async with running() as rig, RawClient.connect(rig.apns) as good, RawClient.connect(rig.apns) as bad:
        # Says four bytes, sends more.
        bad.send(rig.headers(extra=[("content-length", "4")]), PAYLOAD)
        async with asyncio.timeout(30):
            await bad.closed.wait()
        assert bad.goaway is not None
        assert bad.goaway.error_code == ErrorCodes.PROTOCOL_ERROR
        assert (await good.push(rig.headers())).status == 200
        assert rig.apns.statistics()["protocol_errors"] == 1


async def test_reset_requests_leave_nothing_behind():
    async with running() as rig:
        async with RawClient.connect(rig.apns) as client:
            rig.apns.answer(rig.token, 200, delay=60)
            for stream_id in [client.send(rig.headers(), PAYLOAD) for _ in range(20)]:
                client.h2.reset_stream(stream_id)
            half = client.begin(rig.headers())
            client.h2.send_data(half, b"{")
            client.send(rig.headers(), PAYLOAD)
            client.flush()
            other = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
            assert (await client.push(rig.headers(token=other))).status == 200
            assert rig.apns.statistics()["open_streams"] == 2
        await eventually(lambda: not rig.apns.statistics()["open_connections"])
        assert rig.apns.statistics()["open_streams"] == 0


async def test_a_client_that_only_resets_gets_a_goaway():
    limits = StandInLimits(max_resets=50)
    async with running(limits=limits) as rig, RawClient.connect(rig.apns) as client:
        for _ in range(60):
            client.h2.reset_stream(client.begin(rig.headers()))
        client.flush()
        async with asyncio.timeout(30):
            await client.closed.wait()
        assert client.goaway is not None
        assert client.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM


async def test_slow_requests_and_idle_connections_are_ended():
    limits = StandInLimits(idle_seconds=100, request_seconds=50)
    async with running(limits=limits) as rig, RawClient.connect(rig.apns) as client:
        slow = client.begin(rig.headers())
        client.flush()
        await eventually(lambda: rig.apns.statistics()["open_streams"])
        [connection] = rig.apns.listeners["production"].connections
        now = asyncio.get_running_loop().time()
        connection.sweep(now + 10)
        connection.sweep(now + 60)
        assert (await client.answer(slow)).reset == ErrorCodes.CANCEL
        connection.sweep(now + 200)
        async with asyncio.timeout(30):
            await client.closed.wait()
        assert client.goaway is not None
        assert json.loads(client.goaway.additional_data) == {"reason": "IdleTimeout"}


async def test_connections_above_the_limit_are_closed():
    async with running(limits=StandInLimits(max_connections=1)) as rig, RawClient.connect(rig.apns) as client:
        with pytest.raises(OSError):  # noqa: PT011
            async with RawClient.connect(rig.apns):
                pass
        assert (await client.push(rig.headers())).status == 200


async def test_the_end_is_a_goaway_and_open_requests_are_answered():
    async with running(grace_seconds=5) as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, 200, delay=0.2)
        stream_id = client.send(rig.headers(), PAYLOAD)
        await eventually(lambda: rig.apns.notifications(rig.token))
        await rig.apns.stop()
        assert (await client.answer(stream_id)).status == 200
        assert client.goaway is not None
        assert client.goaway.last_stream_id == stream_id
        assert json.loads(client.goaway.additional_data) == {"reason": "Shutdown"}
        async with asyncio.timeout(30):
            await client.closed.wait()


async def test_the_end_does_not_wait_for_ever():
    async with running(grace_seconds=0.1) as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, 200, delay=60)
        client.send(rig.headers(), PAYLOAD)
        await eventually(lambda: rig.apns.notifications(rig.token))
        async with asyncio.timeout(30):
            await rig.apns.stop()
            await client.closed.wait()
