"""Independent clients (curl, stock aioapns) are served; the stand-in runs under uvloop and as a program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from pathlib import Path

import pytest
import uvloop
from aioapns import APNs, NotificationRequest
from aioapns.common import PushType
from aioapns.connection import APNsProductionClientProtocol

from apns_standin import ControlClient
from tests.eventually import eventually

from .raw_client import BUNDLE, PAYLOAD, TEAM, RawClient, running


async def run(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return output.decode()


@pytest.mark.needs("curl")
async def test_curl(tmp_path):
    async with running(ca_file=tmp_path / "ca.pem") as rig:
        command = [
            "curl",
            "--silent",
            "--show-error",
            "--http2",
            "--cacert",
            str(tmp_path / "ca.pem"),
            "--write-out",
            "\n%{http_version} %{http_code} %header{apns-id}",
            "--header",
            f"apns-topic: {BUNDLE}",
            "--header",
            "apns-push-type: alert",
            "--data-binary",
            PAYLOAD.decode(),
        ]
        bearer = ["--header", f"authorization: bearer {rig.jwt}"]
        port = rig.apns.listeners["production"].port
        for host in ("127.0.0.1", "localhost"):
            output = await run(*command, *bearer, f"https://{host}:{port}/3/device/{rig.token}")
            [*_, received] = await rig.apns.notifications(rig.token)
            assert output == f"\n2 200 {received['apns_id']}"
        assert "authorization" in received["headers"]
        assert rig.jwt not in json.dumps(received)
        output = await run(*command, f"{rig.apns.production_url}/3/device/{rig.token}")
        assert output.startswith('{"reason":"MissingProviderToken"}\n2 403 ')
        certificate = tmp_path / "push.pem"
        certificate.write_text(rig.apns.issue_certificate(TEAM, BUNDLE))
        url = f"{rig.apns.production_url}/3/device/{rig.token}"
        output = await run(*command, "--cert", str(certificate), url)
        assert output.startswith("\n2 200 ")


@pytest.mark.parametrize("with_certificate", [False, True])
async def test_stock_aioapns(tmp_path, with_certificate):
    async with running() as rig:

        class Redirected(APNsProductionClientProtocol):
            APNS_SERVER = "localhost"
            APNS_PORT = rig.apns.listeners["production"].port

        context = ssl.create_default_context(cadata=rig.apns.ca_pem)
        context.set_alpn_protocols(["h2"])
        if with_certificate:
            file = tmp_path / "push.pem"
            file.write_text(rig.apns.issue_certificate(TEAM, BUNDLE))
            apns = APNs(client_cert=str(file), ssl_context=context)
        else:
            apns = APNs(
                key=rig.key.p8,
                key_id=rig.key.key_id,
                team_id=TEAM,
                topic=BUNDLE,
                ssl_context=context,
            )
        apns.pool.protocol_class = Redirected
        requests = [
            NotificationRequest(
                rig.token,
                {"aps": {"alert": f"number {number}"}},
                push_type=PushType.ALERT,
                priority=10,
                time_to_live=60,
                collapse_key=f"c{number}",
            )
            for number in range(200)
        ]
        answers = await asyncio.gather(*map(apns.send_notification, requests))
        assert {answer.status for answer in answers} == {"200"}
        received = await rig.apns.notifications(rig.token)
        assert [n["apns_id"] for n in received] == [r.notification_id for r in requests]
        assert received[7]["payload"] == {"aps": {"alert": "number 7"}}
        assert received[7]["headers"]["apns-collapse-id"] == "c7"

        rig.apns.unregister(rig.token, 1_700_000_000_000)
        answer = await apns.send_notification(NotificationRequest(rig.token, {"aps": {}}))
        assert (answer.status, answer.description, answer.timestamp) == (
            "410",
            "Unregistered",
            1_700_000_000_000,
        )
        apns.pool.close()
        await eventually(lambda: not rig.apns.statistics()["open_connections"])


def test_under_uvloop():
    async def main() -> None:
        async with running() as rig, RawClient.connect(rig.apns) as client:
            streams = [client.send(rig.headers(), PAYLOAD) for _ in range(100)]
            assert {(await client.answer(stream_id)).status for stream_id in streams} == {200}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_as_a_program(tmp_path):
    command = [
        sys.executable,
        "-m",
        "apns_standin",
        "--production-port",
        "0",
        "--sandbox-port",
        "0",
        "--production-channels-port",
        "0",
        "--sandbox-channels-port",
        "0",
        "--control-port",
        "0",
        "--ca-file",
        str(tmp_path / "ca.pem"),
        "--state-file",
        str(tmp_path / "state"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode() for _ in range(6)]
    assert [line.split()[0] for line in lines] == ["APNs", "APNs", "channels", "channels", "control", "CA"]
    async with ControlClient(lines[4].split()[-1]) as control:
        await control.issue_key(TEAM)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert len(json.loads((tmp_path / "state").read_bytes())["registry"]["keys"]) == 1
