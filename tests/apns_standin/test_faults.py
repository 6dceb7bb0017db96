"""Faults of a listener: their effect, their receipts, and their end."""

from __future__ import annotations

import asyncio
import random
import ssl
import uuid

import pytest
from h2.errors import ErrorCodes

from apns_standin import ControlClient, ControlError, ListenerFault, RetentionLimits
from tests.eventually import eventually, nothing_happens_for

from .raw_client import BUNDLE, TEAM, Answer, RawClient, Rig, running


def rig_with_receipts(**arguments):
    return running(retention=RetentionLimits(receipts=1000), chance=random.Random(1), **arguments)


async def play(rig: Rig, kind: str, **fields) -> None:
    await rig.apns.set_fault(ListenerFault(kind, **fields), "production")


async def received(rig: Rig) -> int:
    """Return the number of received notifications, independent of their answers."""
    return sum(receipt.count for receipt in rig.apns.receipts.all())


async def closed(client: RawClient) -> None:
    async with asyncio.timeout(30):
        await client.closed.wait()


async def good_again(rig: Rig) -> None:
    await rig.apns.clear_faults()
    async with RawClient.connect(rig.apns) as client:
        assert (await client.push(rig.headers())).status == 200


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("too_many_requests", 429, "TooManyRequests"),
        ("internal_server_error", 500, "InternalServerError"),
        ("service_unavailable", 503, "ServiceUnavailable"),
        ("expired_provider_token", 403, "ExpiredProviderToken"),
        ("invalid_provider_token", 403, "InvalidProviderToken"),
    ],
)
async def test_a_storm_answers_all_alike_and_receives_nothing(kind, status, reason):
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, kind)
        answers = [await client.push(rig.headers()) for _ in range(3)]
        assert {answer.verdict for answer in answers} == {(status, reason)}
        assert await received(rig) == 0
        await good_again(rig)


@pytest.mark.parametrize(
    ("kind", "code", "share", "count"),
    [
        ("refused_stream", ErrorCodes.REFUSED_STREAM, 1.0, 0),
        ("cancel", ErrorCodes.CANCEL, 0.0, 0),
        ("cancel", ErrorCodes.CANCEL, 1.0, 1),
        ("internal_error", ErrorCodes.INTERNAL_ERROR, 0.0, 0),
        ("internal_error", ErrorCodes.INTERNAL_ERROR, 1.0, 1),
    ],
)
async def test_a_stream_is_reset_with_or_without_being_received(kind, code, share, count):
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, kind, received=share)
        assert (await client.push(rig.headers())).reset == code
        assert await received(rig) == count
        assert rig.apns.statistics()["answers_at_risk"] == count
        await good_again(rig)


async def test_a_complete_answer_is_followed_by_a_reset():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, "no_error")
        answers = [await client.push(rig.headers()) for _ in range(3)]
        assert [(answer.status, answer.reset) for answer in answers] == [(200, None)] * 3
        assert await received(rig) == 3


async def test_goaway_lets_open_requests_end():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, 200, delay=0.2)
        before = client.send(rig.headers(), b'{"aps":{}}')
        other = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
        await eventually(lambda: rig.apns.statistics()["open_streams"])
        await play(rig, "goaway")
        assert (await client.push(rig.headers(token=other))).status == 200
        assert (await client.answer(before)).status == 200
        await closed(client)
        assert client.goaway is not None
        assert client.goaway.last_stream_id == 3
        assert await received(rig) == 2
        await good_again(rig)


async def test_requests_above_the_goaway_are_not_received():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        answered = await client.push(rig.headers())
        rig.apns.answer(rig.token, 200, delay=0.2)
        waiting = client.send(rig.headers(), b'{"aps":{}}')
        await eventually(lambda: rig.apns.statistics()["open_streams"])
        await play(rig, "goaway_unprocessed")
        left = [client.send(rig.headers(), b'{"aps":{}}') for _ in range(3)]
        await closed(client)
        assert answered.status == 200
        assert client.answers[waiting].status == 200, "what was processed is answered"
        assert client.goaway is not None
        assert client.goaway.last_stream_id == waiting < left[0]
        assert await received(rig) == 2
        await good_again(rig)


async def test_one_stream_and_back():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, "one_stream")
        rig.apns.answer(rig.token, 200, delay=0.2)
        first = client.send(rig.headers(), b'{"aps":{}}')
        assert (await client.push(rig.headers())).reset == ErrorCodes.REFUSED_STREAM
        assert (await client.answer(first)).status == 200
        assert client.h2.remote_settings.max_concurrent_streams == 1
        async with RawClient.connect(rig.apns) as other:
            assert other.h2.remote_settings.max_concurrent_streams == 1
        await rig.apns.clear_faults()
        streams = [client.send(rig.headers(), b'{"aps":{}}') for _ in range(5)]
        assert {(await client.answer(stream)).status for stream in streams} == {200}
        assert client.h2.remote_settings.max_concurrent_streams == 1000


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_the_tcp_connection_is_reset(share):
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, "tcp_reset", received=share)
        client.send(rig.headers(), b'{"aps":{}}')
        await closed(client)
        assert client.goaway is None
        assert await received(rig) == share
        await good_again(rig)


async def test_a_stalled_connection_never_says_anything_again():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        assert (await client.push(rig.headers())).status == 200
        await play(rig, "stall", received=0.0)
        client.send(rig.headers(), b'{"aps":{}}')
        await nothing_happens_for(0.1)
        await good_again(rig)
        late = client.send(rig.headers(), b'{"aps":{}}')
        client.h2.ping(b"12345678")
        client.flush()
        await nothing_happens_for(0.2)
        assert not client.answers[late].done.is_set()
        assert not client.closed.is_set()
        assert await received(rig) == 2, "the first, and the one on the other connection"


async def test_slow_answers_come():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, "slow", seconds=0.3)
        stream_id = client.send(rig.headers(), b'{"aps":{}}')
        await nothing_happens_for(0.05)
        assert not client.answers[stream_id].done.is_set()
        assert (await client.answer(stream_id)).status == 200


@pytest.mark.parametrize(
    ("kind", "share", "status", "body"),
    [
        ("no_body", 0.5, 503, b""),
        ("html", 0.0, 502, b"<html>"),
        ("html", 1.0, 200, b"<html>"),
        ("split_body", 0.0, 503, b'{"reason":"ServiceUnavailable"}'),
        ("split_body", 1.0, 200, b"{"),
    ],
)
async def test_odd_bodies(kind, share, status, body):
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, kind, received=share)
        answer: Answer = await client.push(rig.headers())
        assert answer.status == status
        assert answer.body.startswith(body)
        assert await received(rig) == (status == 200)


async def test_410_of_long_ago_and_of_now():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        before = int(rig.clock() * 1000)
        await play(rig, "unregistered_before")
        answer = await client.push(rig.headers())
        assert (answer.status, answer.document["reason"]) == (410, "Unregistered")
        assert answer.document["timestamp"] < before - 3_600_000
        assert rig.apns.receipts.unregistered_times()[rig.token] == answer.document["timestamp"]
        await good_again(rig)

        await play(rig, "unregistered_now")
        answer = await client.push(rig.headers())
        assert answer.document["timestamp"] >= before
        await rig.apns.clear_faults()
        assert (await client.push(rig.headers())).document == answer.document, "the app is gone for good"
        assert rig.apns.receipts.unregistered_times() == {rig.token: answer.document["timestamp"]}


async def test_the_handshake_fails():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, "tls_failure")
        await closed(client)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with RawClient.connect(rig.apns):
                pass
        async with RawClient.connect(rig.apns, environment="sandbox"):
            pass
        await good_again(rig)


async def test_the_port_closes_and_opens_again():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        port = rig.apns.listeners["production"].port
        await play(rig, "connection_refused")
        await closed(client)
        with pytest.raises(ConnectionRefusedError):
            async with RawClient.connect(rig.apns):
                pass
        await good_again(rig)
        assert rig.apns.listeners["production"].port == port


async def test_a_share_of_the_requests_is_struck():
    async with rig_with_receipts() as rig, RawClient.connect(rig.apns) as client:
        await play(rig, "service_unavailable", share=0.5)
        statuses = [(await client.push(rig.headers())).status for _ in range(60)]
        assert set(statuses) == {200, 503}


async def test_faults_and_receipts_over_the_control_api():
    async with (
        rig_with_receipts() as rig,
        RawClient.connect(rig.apns) as client,
        ControlClient(rig.apns.control_url) as control,
    ):
        await control.set_fault(ListenerFault("service_unavailable"), "production")
        await control.set_fault(ListenerFault("one_stream"), "sandbox")
        assert (await client.push(rig.headers())).status == 503
        assert [fault.kind for fault in rig.apns.listeners["sandbox"].faults.active()] == ["one_stream"]
        await control.clear_faults("production", "slow")
        assert (await client.push(rig.headers())).status == 503
        await control.clear_faults("production", "service_unavailable")

        twice, once = str(uuid.uuid4()), str(uuid.uuid4())
        for apns_id in (twice, twice, once):
            assert (await client.push(rig.headers(apns_id=apns_id))).status == 200
        receipts = [
            (receipt.apns_id, receipt.device_token, receipt.count) async for receipt in control.receipts()
        ]
        assert receipts == [(twice, rig.token, 2), (once, rig.token, 1)]
        rig.apns.unregister(rig.token, 123)
        assert (await client.push(rig.headers())).status == 410
        assert await control.unregistered() == {rig.token: 123}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "flood"},
        {"kind": "slow", "share": 0},
        {"kind": "slow", "received": 2},
        {"kind": "slow", "x": 1},
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused(body):
    async with running() as rig, ControlClient(rig.apns.control_url) as control:
        with pytest.raises(ControlError) as refused:
            await control._call("POST", "/listeners/production/faults", body)
        assert refused.value.status == 422
        with pytest.raises(ControlError) as refused:
            await control._call("POST", "/listeners/moon/faults", {"kind": "slow"})
        assert refused.value.status in (404, 422)


async def test_receipts_that_are_not_all_known_are_not_given():
    async with running() as rig, ControlClient(rig.apns.control_url) as control:
        with pytest.raises(ControlError) as refused:
            await control.unregistered()
        assert refused.value.status == 409
    async with (
        running(retention=RetentionLimits(receipts=1)) as rig,
        RawClient.connect(rig.apns) as client,
        ControlClient(rig.apns.control_url) as control,
    ):
        for _ in range(2):
            await client.push(rig.headers())
        with pytest.raises(ControlError) as refused:
            assert [receipt async for receipt in control.receipts()]
        assert refused.value.status == 409
