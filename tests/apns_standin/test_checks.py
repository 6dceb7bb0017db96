"""Checks of the stand-in: reasons and their order, over real HTTP/2 and TLS."""

from __future__ import annotations

import json
import uuid

import pytest

from .raw_client import BUNDLE, OTHER_BUNDLE, OTHER_TEAM, PAYLOAD, TEAM, RawClient, running

UPPER = "A" * 63 + "G"
HEADER_ROWS = [
    ("apns-id no UUID", {"apns_id": "42"}, 400, "BadMessageId"),
    ("apns-id without hyphens", {"apns_id": "0" * 32}, 400, "BadMessageId"),
    ("GET", {"method": "GET"}, 405, "MethodNotAllowed"),
    ("PUT", {"method": "PUT"}, 405, "MethodNotAllowed"),
    ("no topic", {"apns_topic": None}, 400, "MissingTopic"),
    ("collapse id of 65 bytes", {"apns_collapse_id": "x" * 65}, 400, "BadCollapseId"),
    ("collapse id of 66 bytes in 33 characters", {"apns_collapse_id": "ü" * 33}, 400, "BadCollapseId"),
    ("priority 7", {"apns_priority": "7"}, 400, "BadPriority"),
    ("priority high", {"apns_priority": "high"}, 400, "BadPriority"),
    ("expiration tomorrow", {"apns_expiration": "tomorrow"}, 400, "BadExpirationDate"),
    ("expiration negative", {"apns_expiration": "-1"}, 400, "BadExpirationDate"),
    ("expiration fraction", {"apns_expiration": "1.5"}, 400, "BadExpirationDate"),
    ("unknown push type", {"apns_push_type": "sms"}, 400, "InvalidPushType"),
    ("alert to a VoIP topic", {"apns_topic": BUNDLE + ".voip"}, 400, "InvalidPushType"),
    (
        "background at once",
        {"apns_push_type": "background", "apns_priority": "10"},
        400,
        "BadPriority",
    ),
    ("another path", {"path": "/3/devices/00"}, 404, "BadPath"),
    ("no device token", {"path": "/3/device/"}, 400, "MissingDeviceToken"),
    ("no device token, no slash", {"path": "/3/device"}, 400, "MissingDeviceToken"),
    ("token not hex", {"path": f"/3/device/{UPPER}"}, 400, "BadDeviceToken"),
    ("token too short", {"path": "/3/device/abcd"}, 400, "BadDeviceToken"),
    ("token never issued", {"path": f"/3/device/{'ab' * 32}"}, 400, "BadDeviceToken"),
    ("another topic", {"apns_topic": OTHER_BUNDLE}, 400, "DeviceTokenNotForTopic"),
    (
        "VoIP push to the plain topic",
        {"apns_push_type": "voip"},
        400,
        "DeviceTokenNotForTopic",
    ),
    ("no authorization", {"authorization": None}, 403, "MissingProviderToken"),
    ("another scheme", {"authorization": "Basic eA=="}, 403, "MissingProviderToken"),
    ("empty bearer", {"authorization": "bearer"}, 403, "MissingProviderToken"),
    ("no JWT", {"authorization": "bearer abc"}, 403, "InvalidProviderToken"),
    (
        "repeated header",
        {"extra": [("apns-priority", "5"), ("apns-priority", "10")]},
        400,
        "DuplicateHeaders",
    ),
]
GOOD_ROWS = [
    ("plain", {}),
    ("no push type", {"apns_push_type": None}),
    ("priority 1", {"apns_priority": "1"}),
    ("priority 5", {"apns_priority": "5"}),
    ("background", {"apns_push_type": "background", "apns_priority": "5"}),
    ("collapse id of 64 bytes", {"apns_collapse_id": "ü" * 32}),
    ("not stored", {"apns_expiration": "0"}),
    ("stored", {"apns_expiration": "1999999999"}),
    ("upper-case id", {"apns_id": "EABEAE54-14A8-11E5-B60B-1697F925EC7B"}),
    ("cookie in pieces", {"extra": [("cookie", "a=1"), ("cookie", "b=2")]}),
]


async def test_a_bad_header_is_refused_with_apples_reason():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        verdicts = {}
        for name, changes, _, _ in HEADER_ROWS:
            answer = await client.push(rig.headers(**changes))
            verdicts[name] = (answer.status, answer.document)
            uuid.UUID(answer.headers["apns-id"])
        assert verdicts == {name: (status, {"reason": reason}) for name, _, status, reason in HEADER_ROWS}
        assert await rig.apns.notifications(rig.token) == []
        assert sum(rig.apns.statistics()["rejected"].values()) == len(HEADER_ROWS)


async def test_a_good_push_is_accepted_and_received():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        for index, (name, changes) in enumerate(GOOD_ROWS):
            answer = await client.push(rig.headers(**changes))
            assert (answer.status, answer.body) == (200, b""), name
            [received] = await rig.apns.notifications(rig.token, after=index)
            assert received["payload"] == json.loads(PAYLOAD)
            assert received["apns_id"] == answer.headers["apns-id"]
            assert changes.get("apns_id", received["apns_id"]) == received["apns_id"]
            assert "apns-unique-id" not in answer.headers


async def test_only_sandbox_answers_have_a_unique_id():
    async with running() as rig, RawClient.connect(rig.apns, "sandbox") as client:
        token = rig.apns.issue_device_token(BUNDLE, TEAM, "sandbox").token
        answer = await client.push(rig.headers(token=token))
        assert uuid.UUID(answer.headers["apns-unique-id"]) != uuid.UUID(answer.headers["apns-id"])


async def test_a_token_of_the_other_environment_is_bad():
    async with running() as rig, RawClient.connect(rig.apns, "sandbox") as client:
        assert (await client.push(rig.headers())).verdict == (400, "BadDeviceToken")


async def test_a_removed_app_answers_410_with_the_time_of_removal():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        rig.apns.unregister(rig.token, 1_700_000_000_123)
        answer = await client.push(rig.headers())
        assert answer.status == 410
        assert answer.document == {"reason": "Unregistered", "timestamp": 1_700_000_000_123}
        rig.apns.unregister(rig.token)
        answer = await client.push(rig.headers())
        assert abs(answer.document["timestamp"] - rig.clock() * 1000) < 60_000


@pytest.mark.parametrize(
    ("push_type", "kind", "suffix"),
    [
        ("voip", "voip", ".voip"),
        ("complication", "complication", ".complication"),
        ("fileprovider", "fileprovider", ".pushkit.fileprovider"),
        ("location", "location", ".location-query"),
        ("liveactivity", "liveactivity-start", ".push-type.liveactivity"),
        ("liveactivity", "liveactivity:4711", ".push-type.liveactivity"),
        ("pushtotalk", "pushtotalk", ".voip-ptt"),
        ("widgets", "widgets", ".push-type.widgets"),
        ("controls", "controls", ".push-type.controls"),
        ("mdm", "mdm", ""),
    ],
)
async def test_each_push_type_has_its_topic_and_its_kind_of_device_token(push_type, kind, suffix):
    async with running() as rig, RawClient.connect(rig.apns) as client:
        token = rig.apns.issue_device_token(BUNDLE, TEAM, "production", kind).token
        good = {"token": token, "apns_topic": BUNDLE + suffix, "apns_push_type": push_type}
        assert (await client.push(rig.headers(**good))).status == 200
        if suffix:
            assert (await client.push(rig.headers(**good | {"apns_push_type": None}))).status == 200
            plain = await client.push(rig.headers(**good | {"apns_topic": BUNDLE}))
            assert plain.verdict == (400, "DeviceTokenNotForTopic")
        other = await client.push(rig.headers(**good | {"token": rig.token}))
        assert other.verdict == (400, "DeviceTokenNotForTopic")


async def test_a_bundle_identifier_that_ends_like_a_suffix_is_a_plain_topic():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        token = rig.apns.issue_device_token("com.example.voip", TEAM, "production").token
        assert (await client.push(rig.headers(token=token, apns_topic="com.example.voip"))).status == 200


def payload_of(size: int) -> bytes:
    return b'{"aps":{},"x":"' + b"x" * (size - 17) + b'"}'


@pytest.mark.parametrize(
    ("kind", "body", "verdict"),
    [
        ("apns", b"", (400, "PayloadEmpty")),
        ("apns", payload_of(4096), (200, None)),
        ("apns", payload_of(4097), (413, "PayloadTooLarge")),
        ("apns", b"x" * 60_000, (413, "PayloadTooLarge")),
        ("voip", payload_of(5120), (200, None)),
        ("voip", payload_of(5121), (413, "PayloadTooLarge")),
        ("apns", b"{", (400, "PayloadEmpty")),
        ("apns", b"[]", (400, "PayloadEmpty")),
        ("apns", b'{"a":NaN}', (400, "PayloadEmpty")),
        ("apns", b'{"a":"\xff"}', (400, "PayloadEmpty")),
        ("apns", b'{"a":' + b"[" * 4000, (400, "PayloadEmpty")),
    ],
)
async def test_the_payload(kind, body, verdict):
    async with running() as rig, RawClient.connect(rig.apns) as client:
        token = rig.apns.issue_device_token(BUNDLE, TEAM, "production", kind).token
        topic = BUNDLE + (".voip" if kind == "voip" else "")
        parts = [body[at : at + 16_000] for at in range(0, len(body), 16_000)] or [b""]
        answer = await client.push(rig.headers(token=token, apns_topic=topic, apns_push_type=None), *parts)
        assert answer.verdict == verdict


async def test_the_order_of_checks_by_fixing_one_fault_at_a_time():
    async with running() as rig, RawClient.connect(rig.apns) as client:
        dead = rig.apns.issue_device_token(BUNDLE, TEAM, "production").token
        rig.apns.unregister(dead)
        foreign = rig.apns.issue_device_token(OTHER_BUNDLE, OTHER_TEAM, "production").token
        sandbox_key = rig.apns.issue_key(TEAM, "sandbox")
        fine_key = rig.jwt
        request = {
            "extra": [("x", "1"), ("x", "2")],
            "apns_id": "no",
            "method": "GET",
            "apns_topic": None,
            "apns_collapse_id": "x" * 65,
            "apns_priority": "11",
            "apns_expiration": "never",
            "apns_push_type": "sms",
            "path": "/nowhere",
            "authorization": None,
        }
        body = b""

        async def expect(reason: str, repair: dict) -> None:
            nonlocal request
            assert (await client.push(rig.headers(**request), body)).verdict[1] == reason
            request = request | repair

        await expect("DuplicateHeaders", {"extra": None})
        await expect("BadMessageId", {"apns_id": None})
        await expect("MethodNotAllowed", {"method": "POST"})
        await expect("MissingTopic", {"apns_topic": BUNDLE + ".voip"})
        await expect("BadCollapseId", {"apns_collapse_id": None})
        await expect("BadPriority", {"apns_priority": "10"})
        await expect("BadExpirationDate", {"apns_expiration": None})
        await expect("InvalidPushType", {"apns_push_type": "background"})
        await expect("InvalidPushType", {"apns_topic": BUNDLE})  # the type does not suit the topic
        await expect("BadPriority", {"apns_push_type": "alert"})  # 10 for background
        await expect("BadPath", {"path": "/3/device/"})
        await expect("MissingDeviceToken", {"path": "/3/device/xyz"})
        await expect("MissingProviderToken", {"authorization": "bearer x"})
        await expect("InvalidProviderToken", {"authorization": f"bearer {rig.sign(sandbox_key, iat=1)}"})
        await expect("ExpiredProviderToken", {"authorization": f"bearer {rig.sign(sandbox_key)}"})
        await expect("BadEnvironmentKeyIdInToken", {"authorization": f"bearer {fine_key}"})
        await expect("BadDeviceToken", {"path": "/3/device/" + "0" * 64})
        await expect("BadDeviceToken", {"path": "/3/device/" + dead})  # never issued
        await expect("Unregistered", {"path": "/3/device/" + foreign})
        await expect("DeviceTokenNotForTopic", {"apns_topic": OTHER_BUNDLE})
        await expect("TopicDisallowed", {"path": None, "apns_topic": BUNDLE})
        await expect("PayloadEmpty", {})
        body = b"{" * 4097
        await expect("PayloadTooLarge", {})
        body = b"{"
        await expect("PayloadEmpty", {})  # no JSON
        body = PAYLOAD
        assert (await client.push(rig.headers(**request), body)).status == 200


async def test_an_exception_of_the_stand_in_is_500_and_affects_no_other_request():
    async with running() as rig, RawClient.connect(rig.apns) as client:

        def broken(*_):
            raise RuntimeError

        rig.apns.service.interceptors.append(broken)
        assert (await client.push(rig.headers())).verdict == (500, "InternalServerError")
        rig.apns.service.interceptors.clear()
        assert (await client.push(rig.headers())).status == 200
