"""A publisher's list of test devices."""

from __future__ import annotations

from uuid import uuid4

from tests.api.front import Front

UDID = "00008030-001C2D223A80802E"
PATH = "test-devices/"


async def test_a_test_device_is_added_changed_and_removed(front: Front) -> None:
    _, manage_token = await front.publisher()
    added = await front.call("POST", PATH, {"udid": UDID, "label": "my phone"}, token=manage_token)
    assert (added.status, added.body["label"], added.body["failure_domain"]) == (201, "my phone", "ok")
    device_path = f"{PATH}{added.body['id']}/"
    changed = await front.call("PATCH", device_path, {"failure_domain": "slow"}, token=manage_token)
    assert changed.body == added.body | {"failure_domain": "slow"}
    listed = await front.call("GET", "test-devices", token=manage_token)
    assert listed.body["items"] == [changed.body]
    assert "001c2d22" not in str([added.body, listed.body]).lower()

    assert (await front.call("DELETE", device_path, token=manage_token)).status == 204
    assert (await front.call("DELETE", device_path, token=manage_token)).status == 404
    assert (await front.call("GET", PATH, token=manage_token)).body["items"] == []


async def test_a_device_is_listed_once_for_each_publisher(front: Front) -> None:
    _, manage_token = await front.publisher()
    _, other_token = await front.publisher("Bob")
    await front.call("POST", PATH, {"udid": UDID, "label": "my phone"}, token=manage_token)
    written_otherwise = {"udid": UDID.lower().replace("-", ""), "label": "again"}
    refused = await front.call("POST", PATH, written_otherwise, token=manage_token)
    assert (refused.status, refused.faults) == (409, [("conflict", "/udid")])
    assert (await front.call("POST", PATH, written_otherwise, token=other_token)).status == 201


BAD_TEST_DEVICES: list[tuple[dict[str, object], str]] = [
    ({"udid": "nonsense"}, "/udid"),
    ({"udid": ""}, "/udid"),
    ({"label": ""}, "/label"),
    ({"label": "\x00"}, "/label"),
    ({"failure_domain": "explode"}, "/failure_domain"),
    ({"failure_domain": None}, "/failure_domain"),
    ({"publisher_id": str(uuid4())}, "/publisher_id"),
]


async def test_invalid_test_devices_are_refused(front: Front) -> None:
    _, manage_token = await front.publisher()
    for change, pointer in BAD_TEST_DEVICES:
        answer = await front.call("POST", PATH, {"udid": UDID, "label": "x", **change}, token=manage_token)
        assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer]), change
        assert (await front.call("GET", PATH, token=manage_token)).body["items"] == []
