"""The control API, its client, prescribed answers, and the state file."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat

import aiohttp
import pytest
from h2.errors import ErrorCodes

from apns_standin import (
    ApnsStandIn,
    ConflictError,
    ControlClient,
    ControlError,
    InvalidError,
    NotFoundError,
    RetentionLimits,
    ScriptedAnswer,
    StandInPorts,
    StateFileError,
)
from tests.eventually import eventually, nothing_happens_for

from .raw_client import BUNDLE, OTHER_TEAM, PAYLOAD, TEAM, RawClient, Rig, running

NEW_BUNDLE = "com.example.new"


async def test_a_push_with_a_key_and_a_device_token_of_the_control_api():
    async with running() as rig, ControlClient(rig.apns.control_url) as control:
        key = await control.issue_key(TEAM)
        token = await control.issue_device_token(NEW_BUNDLE, TEAM, "sandbox")
        assert (len(key.key_id), key.team_id, key.p8[:27]) == (10, TEAM, "-----BEGIN PRIVATE KEY-----")
        headers = rig.headers(token=token, bearer=rig.sign(key), apns_topic=NEW_BUNDLE)
        async with RawClient.connect(rig.apns, "sandbox") as client:
            answer = await client.push(headers)
        [received] = await control.notifications(token)
        assert abs(received.pop("time") - rig.clock() * 1000) < 60_000
        assert received == {
            "index": 1,
            "apns_id": answer.headers["apns-id"],
            "environment": "sandbox",
            "team_id": TEAM,
            "key_id": key.key_id,
            "headers": {
                "apns-topic": NEW_BUNDLE,
                "apns-push-type": "alert",
                "authorization": "bearer [redacted]",
            },
            "payload": {"aps": {"alert": "hello"}},
        }
        devices = {device["device_token"]: device for device in await control.devices()}
        assert devices[token] == {
            "device_token": token,
            "bundle_id": NEW_BUNDLE,
            "team_id": TEAM,
            "environment": "sandbox",
            "kind": "apns",
            "count": 1,
            "state": "active",
            "unregistered_at": None,
        }


async def test_apps_keys_and_topics_change_over_the_control_api(tmp_path):
    async with running() as rig, ControlClient(rig.apns.control_url) as control:
        key = await control.issue_key(TEAM)
        token = await control.issue_device_token(NEW_BUNDLE, TEAM, "sandbox")
        headers = rig.headers(token=token, bearer=rig.sign(key), apns_topic=NEW_BUNDLE)
        async with RawClient.connect(rig.apns, "sandbox") as client:
            assert (await client.push(headers)).status == 200
            await control.unregister(token, 1234)
            assert (await client.push(headers)).document == {"reason": "Unregistered", "timestamp": 1234}
            await control.unregister(token)
            assert (await client.push(headers)).document["timestamp"] > 1234
            await control.revoke_key(TEAM, key.key_id)
            token = await control.issue_device_token(NEW_BUNDLE, TEAM, "sandbox")
            headers = rig.headers(token=token, bearer=rig.sign(key), apns_topic=NEW_BUNDLE)
            assert (await client.push(headers)).verdict == (403, "InvalidProviderToken")
        await control.transfer_topic(NEW_BUNDLE, OTHER_TEAM)
        file = tmp_path / "push.pem"
        file.write_text(await control.issue_certificate(OTHER_TEAM, NEW_BUNDLE, "sandbox"))
        async with RawClient.connect(rig.apns, "sandbox", certificate=file) as client:
            assert (await client.push(headers)).status == 200
        statistics = await control.statistics()
        counted = {name: statistics[name] for name in ("accepted", "rejected", "statuses", "connections")}
        assert counted == {
            "accepted": 2,
            "rejected": {"Unregistered": 2, "InvalidProviderToken": 1},
            "statuses": {"200": 2, "410": 2, "403": 1},
            "connections": 2,
        }


async def test_many_device_tokens_in_one_request():
    async with running() as rig, ControlClient(rig.apns.control_url) as control:
        tokens = await control.issue_device_tokens(50, BUNDLE, TEAM, "production", "voip")
        assert len(set(tokens)) == 50


async def test_waiting_for_the_next_notification():
    async with running() as rig, ControlClient(rig.apns.control_url) as control:
        assert await control.notifications(rig.token, wait=0.05) == []
        async with RawClient.connect(rig.apns) as client:
            waiting = [asyncio.create_task(control.notifications(rig.token, wait=30)) for _ in range(3)]
            waiting += [asyncio.create_task(control.feed(wait=30))]
            second = asyncio.create_task(control.notifications(rig.token, after=1, wait=30))
            await nothing_happens_for(0.1)
            assert not any(task.done() for task in waiting)
            await client.push(rig.headers())
            assert [len(await task) for task in waiting] == [1, 1, 1, 1]
            await nothing_happens_for(0.05)
            assert not second.done()
            await client.push(rig.headers())
            assert [n["index"] for n in await second] == [2]
            other = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
            await client.push(rig.headers(token=other))
            [entry] = await control.feed(after=2)
            assert (entry["index"], entry["device_index"], entry["device_token"]) == (3, 1, other)


async def test_what_is_kept_is_bounded():
    async with (
        running(retention=RetentionLimits(per_token=3, total=5)) as rig,
        RawClient.connect(rig.apns) as client,
    ):
        other = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
        for token in [rig.token] * 5 + [other] * 4:
            await client.push(rig.headers(token=token))
        assert [n["index"] for n in await rig.apns.notifications(rig.token)] == [5]
        assert [n["index"] for n in await rig.apns.notifications(other)] == [2, 3, 4]
        assert [n["index"] for n in await rig.apns.notifications(other, after=3)] == [4]
        assert [n["index"] for n in await rig.apns.feed()] == [5, 6, 7, 8, 9]
        assert {d["device_token"]: d["count"] for d in rig.apns.devices()} == {rig.token: 5, other: 4}


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        (ScriptedAnswer(503, "ServiceUnavailable"), (503, "ServiceUnavailable")),
        (ScriptedAnswer(503), (503, "ServiceUnavailable")),
        (ScriptedAnswer(reason="TooManyRequests"), (429, "TooManyRequests")),
        (ScriptedAnswer(418, "Teapot"), (418, "Teapot")),
        (ScriptedAnswer(403, "ExpiredProviderToken"), (403, "ExpiredProviderToken")),
        (ScriptedAnswer(500, fault="no_body"), (500, None)),
    ],
)
async def test_a_device_token_gives_its_prescribed_answer(script, verdict):
    async with (
        running() as rig,
        RawClient.connect(rig.apns) as client,
        ControlClient(rig.apns.control_url) as c,
    ):
        await c.answer(rig.token, script)
        answer = await client.push(rig.headers(apns_id="eabeae54-14a8-11e5-b60b-1697f925ec7b"))
        assert answer.verdict == verdict
        assert answer.headers["apns-id"] == "eabeae54-14a8-11e5-b60b-1697f925ec7b"
        other = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
        assert (await client.push(rig.headers(token=other))).status == 200
        assert await c.notifications(rig.token) == []
        await c.clear_answer(rig.token)
        assert (await client.push(rig.headers())).status == 200


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": 502, "body": "<html>Bad gateway</html>"}, b"<html>Bad gateway</html>"),
        ({"status": 410, "timestamp": 99}, b'{"reason":"Unregistered","timestamp":99}'),
        ({"status": 503, "fault": "no_body"}, b""),
    ],
)
async def test_the_body_of_a_prescribed_answer(fields, expected):
    async with running() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, **fields)
        assert (await client.push(rig.headers())).body == expected


async def test_a_prescribed_410_without_a_time_has_that_of_the_answer():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        before_ms = int(rig.clock() * 1000)
        rig.apns.answer(rig.token, reason="ExpiredToken")
        assert (await client.push(rig.headers())).document["timestamp"] >= before_ms


async def test_a_prescribed_answer_is_given_the_prescribed_number_of_times():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, 503, times=2)
        assert [(await client.push(rig.headers())).status for _ in range(3)] == [503, 503, 200]
        assert len(await rig.apns.notifications(rig.token)) == 1


async def test_a_prescribed_reset_receives_nothing():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, fault="reset", code=ErrorCodes.REFUSED_STREAM)
        assert (await client.push(rig.headers())).reset == ErrorCodes.REFUSED_STREAM
        assert await rig.apns.notifications(rig.token) == []


async def test_a_prescribed_delay_holds_up_only_its_device_token():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, delay=0.15)
        started = asyncio.get_running_loop().time()
        slow = client.send(rig.headers(), PAYLOAD)
        other = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
        assert (await client.push(rig.headers(token=other))).status == 200
        assert (await client.answer(slow)).status == 200
        assert asyncio.get_running_loop().time() - started >= 0.15
        assert len(await rig.apns.notifications(rig.token)) == 1


async def test_a_prescribed_delay_does_not_make_a_bad_push_good():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.answer(rig.token, delay=0.01)
        assert (await client.push(rig.headers(apns_topic=None))).verdict == (400, "MissingTopic")


PROBLEMS = [
    ("GET", "/nowhere", None, 404, ""),
    ("PATCH", "/devices", None, 405, ""),
    ("GET", f"/devices/{'ab' * 32}/notifications", None, 404, "token"),
    ("DELETE", "/devices/xyz", None, 404, "token"),
    ("PUT", f"/devices/{'ab' * 32}/answer", {"status": 503}, 404, "token"),
    ("DELETE", f"/devices/{'ab' * 32}/answer", None, 404, "token"),
    ("GET", "/devices/{token}/notifications?after=-1", None, 422, "after"),
    ("GET", "/devices/{token}/notifications?wait=61", None, 422, "wait"),
    ("GET", "/notifications?wait=nan", None, 422, "wait"),
    ("PUT", "/devices/{token}/answer", {"status": 400}, 422, "reason"),
    ("PUT", "/devices/{token}/answer", {"status": 100}, 422, "status"),
    ("PUT", "/devices/{token}/answer", {"reason": "Odd"}, 422, "status"),
    ("PUT", "/devices/{token}/answer", {"status": "x"}, 422, "status"),
    ("PUT", "/devices/{token}/answer", {"delay": -1}, 422, "delay"),
    ("PUT", "/devices/{token}/answer", {"times": 0}, 422, "times"),
    ("PUT", "/devices/{token}/answer", {"fault": "flood"}, 422, "fault"),
    ("PUT", "/devices/{token}/answer", {"code": -1}, 422, "code"),
    ("PUT", "/devices/{token}/answer", {"stat": 503}, 422, "stat"),
    ("PUT", "/devices/{token}/answer", [], 422, "body"),
    ("POST", "/teams/short/keys", {}, 422, "team_id"),
    ("POST", f"/teams/{TEAM}/keys", {"environment": "moon"}, 422, "environment"),
    ("DELETE", f"/teams/{TEAM}/keys/ABCDEFGHJK", None, 404, "key"),
    ("POST", f"/teams/{TEAM}/certificates", {}, 422, "bundle_id"),
    ("POST", f"/teams/{OTHER_TEAM}/certificates", {"bundle_id": BUNDLE}, 409, "another team"),
    ("PUT", "/topics/a_b", {"team_id": TEAM}, 422, "bundle_id"),
    ("POST", "/devices", {"bundle_id": BUNDLE, "team_id": OTHER_TEAM, "environment": "sandbox"}, 409, "team"),
    ("POST", "/devices", {"bundle_id": BUNDLE, "team_id": TEAM, "environment": "mars"}, 422, "environment"),
    ("POST", "/devices", {"bundle_id": BUNDLE, "team_id": TEAM}, 422, "environment"),
    (
        "POST",
        "/devices",
        {"bundle_id": BUNDLE, "team_id": TEAM, "environment": "sandbox", "kind": "fax"},
        422,
        "kind",
    ),
    ("DELETE", "/devices/{token}", {"timestamp": "now"}, 422, "timestamp"),
]


async def test_errors_of_the_control_api_are_problems_that_name_the_field():
    async with running() as rig, aiohttp.ClientSession(rig.apns.control_url) as session:
        for method, path, body, status, word in PROBLEMS:
            async with session.request(method, path.format(token=rig.token), json=body) as response:
                problem = await response.json(content_type="application/problem+json")
                assert (response.status, problem["status"]) == (status, status), (method, path, body)
                assert word in problem["detail"]
                assert rig.token not in problem["detail"]
        async with session.post("/devices", data=b"\xff{") as response:
            assert response.status == 422
        async with session.get("/healthz") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})
        async with session.delete(f"/devices/{rig.token}?timestamp=77") as response:
            assert response.status == 204
        assert rig.apns.devices()[0]["unregistered_at"] == 77


async def test_the_client_raises_what_the_control_api_says():
    async with running() as rig, ControlClient(rig.apns.control_url) as control:
        with pytest.raises(ControlError) as caught:
            await control.notifications("ab" * 32)
        assert (caught.value.status, caught.value.code) == (404, "not_found")


async def test_the_object_raises_its_own_errors():
    async with running() as rig:
        with pytest.raises(NotFoundError):
            await rig.apns.notifications("ab" * 32)
        with pytest.raises(ConflictError):
            rig.apns.issue_device_token(BUNDLE, OTHER_TEAM, "production")
        with pytest.raises(InvalidError):
            rig.apns.issue_key("team")
        with pytest.raises(InvalidError):
            rig.apns.answer(rig.token, 400)


async def test_the_state_survives_a_restart_and_notifications_do_not(tmp_path):
    state, ca = tmp_path / "var" / "state.json", tmp_path / "var" / "ca.pem"
    async with running(state_file=state, ca_file=ca) as rig, RawClient.connect(rig.apns) as client:
        key, token = rig.key, rig.token
        gone = rig.apns.issue_device_token(BUNDLE, TEAM, "production", "voip").token
        rig.apns.unregister(gone, 4711)
        assert (await client.push(rig.headers())).status == 200
        pem, certificate = ca.read_text(), tmp_path / "push.pem"
        certificate.write_text(rig.apns.issue_certificate(TEAM, BUNDLE))
        await eventually(lambda: gone in state.read_text())  # written without being asked
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in state.read_text().replace(
        rig.apns._state.authority.key_pem.replace("\n", "\\n"), ""
    )
    async with ApnsStandIn(state_file=state, ca_file=ca, clock=rig.clock) as again:
        assert ca.read_text() == again.ca_pem == pem
        assert again.devices()[1]["unregistered_at"] == 4711
        assert await again.notifications(token) == []
        rig2 = Rig.__new__(Rig)
        rig2.apns, rig2.clock, rig2.key, rig2.token, rig2.jwt = again, rig.clock, key, token, rig.jwt
        async with RawClient.connect(again) as client:
            assert (await client.push(rig2.headers())).status == 200
        async with RawClient.connect(again, certificate=certificate) as client:
            assert (await client.push(rig2.headers(authorization=None))).status == 200
    assert not list(state.parent.glob("*.new"))


async def test_a_file_that_is_no_state_file_is_refused_and_left_alone(tmp_path):
    state = tmp_path / "state.json"
    for content in ("{}", "rubbish", '{"version": 2}'):
        state.write_text(content)
        with pytest.raises(StateFileError, match=str(state)):
            ApnsStandIn(state_file=state)
        assert state.read_text() == content


async def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("production", "sandbox_channels", "control"):
            with pytest.raises(OSError, match="in use"):
                async with ApnsStandIn(ports=StandInPorts(**{name: port})):
                    pass
            ports = StandInPorts(**{name: port}, fallback_to_free_port=True)
            async with ApnsStandIn(ports=ports) as apns:
                urls = apns.production_url, apns.channels_url("sandbox"), apns.control_url
                assert not [url for url in urls if url.endswith(f":{port}")]


async def test_the_address_may_be_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    async with ApnsStandIn("::1") as apns, aiohttp.ClientSession() as session:
        assert apns.control_url.startswith("http://[::1]:")
        async with session.get(apns.control_url + "/healthz") as response:
            assert response.status == 200
        context = ssl.create_default_context(cadata=apns.ca_pem)
        _, writer = await asyncio.open_connection("::1", apns.listeners["sandbox"].port, ssl=context)
        writer.transport.abort()
