"""Broadcast channels at the stand-in: management on its own port, pushes on the port of all pushes."""

from __future__ import annotations

import json
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apns_standin import ApnsStandIn, ControlClient, ListenerFault, StandInLimits

from .raw_client import BUNDLE, OTHER_BUNDLE, OTHER_TEAM, TEAM, Answer, RawClient, Rig, running

UPDATE = b'{"aps":{"timestamp":1685952000,"event":"update","content-state":{"score":1}}}'
STORES, STORES_NOT = (
    json.dumps({"message-storage-policy": policy, "push-type": "LiveActivity"}).encode() for policy in (1, 0)
)
UNKNOWN = "dHN0LXNyY2gtY2hubA=="


class Manager:
    """A provider that manages channels and pushes to them."""

    def __init__(self, rig: Rig, management: RawClient, pushes: RawClient) -> None:
        self.rig, self.management, self.pushes = rig, management, pushes

    async def ask(
        self, method: str, body: bytes = b"", path: str = f"/1/apps/{BUNDLE}/channels", **headers: str | None
    ) -> Answer:
        sent = self.rig.headers(
            method=method, path=path, **{"apns_topic": None, "apns_push_type": None, **headers}
        )
        return await self.management.answer(self.management.send(sent, *([body] if body else [])))

    async def create(self, body: bytes = STORES) -> str:
        answer = await self.ask("POST", body)
        assert (answer.status, answer.body) == (201, b"")
        return answer.headers["apns-channel-id"]

    async def push(self, channel_id: str | None, body: bytes = UPDATE, **headers: str | None) -> Answer:
        named: dict[str, str | None] = {
            "apns_topic": None,
            "apns_push_type": "liveactivity",
            "apns_channel_id": channel_id,
            "apns_priority": "10",
            "apns_expiration": "0",
            **headers,
        }
        sent = self.rig.headers(path=named.pop("path", None) or f"/4/broadcasts/apps/{BUNDLE}", **named)
        return await self.pushes.answer(self.pushes.send(sent, *([body] if body else [])))


@asynccontextmanager
async def managing(environment: str = "production", certificate: Path | None = None, **arguments: Any):
    async with (
        running(**arguments) as rig,
        RawClient.connect(rig.apns, environment, certificate, management=True) as management,
        RawClient.connect(rig.apns, environment, certificate) as pushes,
    ):
        yield Manager(rig, management, pushes)


async def test_a_channel_is_made_read_listed_and_deleted():
    async with managing() as manager:
        kept, passing = await manager.create(STORES), await manager.create(STORES_NOT)
        for channel_id, policy in ((kept, 1), (passing, 0)):
            answer = await manager.ask("GET", apns_channel_id=channel_id)
            assert (answer.status, answer.document) == (
                200,
                {"message-storage-policy": policy, "push-type": "LiveActivity"},
            )
        everything = f"/1/apps/{BUNDLE}/all-channels"
        assert (await manager.ask("GET", path=everything)).document == {"channels": [kept, passing]}
        answer = await manager.ask("DELETE", apns_channel_id=kept)
        assert (answer.status, answer.body) == (204, b"")
        assert (await manager.ask("GET", path=everything)).document == {"channels": [passing]}
        for method in ("GET", "DELETE"):
            gone = await manager.ask(method, apns_channel_id=kept)
            assert gone.verdict == (400, "ChannelNotRegistered")


async def test_a_request_has_an_id():
    async with managing() as manager:
        mine = str(uuid.uuid4())
        assert (await manager.ask("POST", STORES, apns_request_id=mine)).headers["apns-request-id"] == mine
        assert (await manager.ask("PUT", apns_request_id=mine)).headers["apns-request-id"] == mine
        uuid.UUID((await manager.ask("POST", STORES)).headers["apns-request-id"])
        answer = await manager.ask("POST", STORES, apns_request_id="42")
        assert answer.verdict == (400, "BadMessageId")


async def test_a_push_reaches_its_channel_alone():
    async with managing() as manager:
        apns = manager.rig.apns
        channel_id, other = await manager.create(STORES_NOT), await manager.create(STORES_NOT)
        answer = await manager.push(channel_id)
        assert (answer.status, answer.body) == (200, b"")
        uuid.UUID(answer.headers["apns-unique-id"])
        [received] = await apns.channel_notifications(channel_id, wait=5)
        assert received["payload"] == json.loads(UPDATE)
        assert received["headers"]["apns-push-type"] == "liveactivity"
        assert received["apns_id"] == answer.headers["apns-request-id"]
        assert received["headers"]["authorization"] == "bearer [redacted]"
        assert (received["team_id"], received["key_id"]) == (TEAM, manager.rig.key.key_id)
        assert await apns.channel_notifications(other) == []
        assert await apns.notifications(manager.rig.token) == []


def row(reason: str, status: int = 400, body: bytes = STORES, method: str = "POST", **headers: Any) -> Any:
    return pytest.param(method, body, headers, status, reason, id=f"{method} {reason} {headers or body[:40]}")


@pytest.mark.parametrize(
    ("method", "body", "headers", "status", "reason"),
    [
        row("BadPath", 404, path="/1/apps/channels"),
        row("BadPath", 404, path=f"/1/apps/{BUNDLE}/channel"),
        row("BadPath", 404, path=f"/3/device/{'ab' * 32}"),
        row("BadPath", 404, path=f"/4/broadcasts/apps/{BUNDLE}"),
        row("MethodNotAllowed", 405, method="PUT"),
        row("MethodNotAllowed", 405, path=f"/1/apps/{BUNDLE}/all-channels"),
        row("MissingProviderToken", 403, authorization=None),
        row("InvalidProviderToken", 403, authorization="bearer abc"),
        row("TopicMismatch", 403, path=f"/1/apps/{OTHER_BUNDLE}/channels"),
        row("TopicDisallowed", path=f"/1/apps/{BUNDLE}.push-type.liveactivity/channels"),
        row("BadRequestPayload", body=b""),
        row("BadRequestPayload", body=b"{"),
        row("BadRequestPayload", body=b"[]"),
        row("BadRequestParams", body=b"{}"),
        row("BadRequestParams", body=b'{"message-storage-policy":1}'),
        row("BadRequestParams", body=b'{"message-storage-policy":2,"push-type":"LiveActivity"}'),
        row("BadRequestParams", body=b'{"message-storage-policy":true,"push-type":"LiveActivity"}'),
        row("BadRequestParams", body=b'{"message-storage-policy":1,"push-type":"LiveActivity","name":"x"}'),
        row("InvalidPushType", body=b'{"message-storage-policy":1,"push-type":"alert"}'),
        row("MissingChannelId", method="GET", body=b""),
        row("MissingChannelId", method="DELETE", body=b""),
        row("BadChannelId", method="GET", body=b"", apns_channel_id="no base64!"),
        row("BadChannelId", method="GET", body=b"", apns_channel_id="QUFB" * 40),
        row("ChannelNotRegistered", method="GET", body=b"", apns_channel_id=UNKNOWN),
    ],
)
async def test_management_refuses_with_apples_reason(
    method: str, body: bytes, headers: dict[str, Any], status: int, reason: str
):
    async with managing() as manager:
        manager.rig.apns.register_topic(OTHER_BUNDLE, OTHER_TEAM)
        answer = await manager.ask(method, body, **headers)
        assert answer.verdict == (status, reason)
        uuid.UUID(answer.headers["apns-request-id"])
        assert manager.rig.apns.channels() == []


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason"),
    [
        ({"path": "/4/broadcasts/apps/"}, UPDATE, 404, "BadPath"),
        ({"path": f"/4/broadcasts/apps/{BUNDLE}/x"}, UPDATE, 404, "BadPath"),
        ({"method": "GET"}, b"", 405, "MethodNotAllowed"),
        ({"authorization": None}, UPDATE, 403, "MissingProviderToken"),
        ({"path": f"/4/broadcasts/apps/{OTHER_BUNDLE}"}, UPDATE, 403, "TopicMismatch"),
        ({"apns_channel_id": None}, UPDATE, 400, "MissingChannelId"),
        ({"apns_channel_id": "%"}, UPDATE, 400, "BadChannelId"),
        ({"apns_channel_id": UNKNOWN}, UPDATE, 400, "ChannelNotRegistered"),
        ({"apns_push_type": None}, UPDATE, 400, "MissingPushType"),
        ({"apns_push_type": "alert"}, UPDATE, 400, "InvalidPushType"),
        ({"apns_priority": None}, UPDATE, 400, "BadPriority"),
        ({"apns_priority": "7"}, UPDATE, 400, "BadPriority"),
        ({"apns_expiration": None}, UPDATE, 400, "BadExpirationDate"),
        ({"apns_expiration": "soon"}, UPDATE, 400, "BadExpirationDate"),
        ({"apns_expiration": "1999999999"}, UPDATE, 400, "BadExpirationDate"),
        ({}, b"", 400, "PayloadEmpty"),
        ({}, b"[]", 400, "PayloadEmpty"),
        ({}, b'{"x":"' + b"a" * 5113 + b'"}', 413, "PayloadTooLarge"),
    ],
)
async def test_a_push_is_refused_with_apples_reason(
    headers: dict[str, Any], body: bytes, status: int, reason: str
):
    async with managing() as manager:
        manager.rig.apns.register_topic(OTHER_BUNDLE, OTHER_TEAM)
        channel_id = await manager.create(STORES_NOT)
        answer = await manager.push(**{"channel_id": channel_id, "body": body, **headers})
        assert answer.verdict == (status, reason)
        assert await manager.rig.apns.channel_notifications(channel_id) == []


async def test_a_channel_that_stores_takes_an_expiration_and_the_largest_payload():
    async with managing() as manager:
        channel_id = await manager.create(STORES)
        largest = b'{"x":"' + b"a" * 5112 + b'"}'
        assert (await manager.push(channel_id, largest, apns_expiration="1999999999")).status == 200


async def test_a_channel_belongs_to_one_environment():
    async with managing("sandbox") as manager, RawClient.connect(manager.rig.apns) as production:
        manager_of_production = Manager(manager.rig, manager.management, production)
        channel_id = await manager.create()
        assert (await manager_of_production.push(channel_id)).verdict == (400, "ChannelNotRegistered")
        assert (await manager.push(channel_id)).status == 200


async def test_a_certificate_manages_the_channels_of_its_app(tmp_path):
    async with running() as rig:
        certificate = tmp_path / "push.pem"
        certificate.write_text(rig.apns.issue_certificate(TEAM, BUNDLE))
        async with RawClient.connect(rig.apns, certificate=certificate, management=True) as client:
            manager = Manager(rig, client, client)
            answer = await manager.ask("POST", STORES, authorization=None)
            assert answer.status == 201
            other = await manager.ask("POST", STORES, f"/1/apps/{OTHER_BUNDLE}/channels", authorization=None)
            assert other.verdict == (403, "TopicMismatch")


async def test_the_number_of_channels_of_an_app_is_limited():
    async with managing(limits=StandInLimits(max_channels=2)) as manager:
        for _ in range(2):
            await manager.create()
        assert (await manager.ask("POST", STORES)).verdict == (400, "CannotCreateChannelConfig")


async def test_channels_outlive_a_restart(tmp_path):
    state = tmp_path / "state.json"
    async with managing(state_file=state) as manager:
        channel_id = await manager.create()
    async with ApnsStandIn(state_file=state) as apns:
        [channel] = apns.channels()
        assert (channel["channel_id"], channel["bundle_id"]) == (channel_id, BUNDLE)


async def test_the_control_api_shows_channels_and_what_they_received():
    async with managing() as manager, ControlClient(manager.rig.apns.control_url) as control:
        channel_id = await manager.create()
        await manager.push(channel_id)
        [channel] = await control.channels()
        assert channel == {
            "channel_id": channel_id,
            "bundle_id": BUNDLE,
            "environment": "production",
            "message_storage": True,
            "count": 1,
        }
        [received] = await control.channel_notifications(channel_id)
        assert received["payload"]["aps"]["event"] == "update"
        assert await control.channel_notifications(channel_id, after=1) == []
        await control.delete_channel(channel_id)
        assert (await manager.push(channel_id)).verdict == (400, "ChannelNotRegistered")


async def test_faults_strike_channels_as_well():
    async with managing() as manager:
        channel_id = await manager.create()
        fault = ListenerFault("service_unavailable")
        await manager.rig.apns.set_fault(fault, "production")
        assert (await manager.push(channel_id)).verdict == (503, "ServiceUnavailable")
        await manager.rig.apns.management["production"].set_fault(fault)
        assert (await manager.ask("POST", STORES)).verdict == (503, "ServiceUnavailable")
        await manager.rig.apns.clear_faults()
        assert (await manager.push(channel_id)).status == 200
