"""The kinds of tokens that endpoints accept, and the things of other publishers, which are not found."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.front import Front

UDID = "00008030-001C2D223A80802E"
OPERATOR_ENDPOINTS = [
    ("POST", "operator/publishers/"),
    ("GET", "operator/publishers/"),
    ("POST", f"operator/publishers/{uuid4()}/tokens/"),
    ("POST", "operator/apps/"),
    ("GET", "operator/apps/"),
    ("POST", "operator/credentials/"),
    ("GET", "operator/credentials/"),
    ("POST", "operator/credentials/1/resume/"),
    ("POST", "operator/credentials/1/suspend/"),
    ("DELETE", "operator/credentials/1/"),
    ("POST", "operator/installations/"),
    ("PUT", f"operator/installations/{uuid4()}/"),
    ("DELETE", f"operator/installations/{uuid4()}/"),
]


async def test_only_the_operator_may_call_its_endpoints(front: Front) -> None:
    _, manage_token = await front.publisher()
    unknown_token = "operator_" + "A" * 48
    for token, status in (("", 401), (unknown_token, 401), ("nonsense", 401), (manage_token, 403)):
        for method, path in OPERATOR_ENDPOINTS:
            body = {} if method in ("POST", "PUT") else None
            answer = await front.call(method, path, body, token=token)
            assert answer.status == status, (method, path, token)


@pytest.mark.parametrize("path", ["apps/", "test-devices/"])
async def test_only_a_publisher_may_call_its_endpoints(front: Front, path: str) -> None:
    publisher, manage_token = await front.publisher()
    created = await front.call("POST", f"apps/{await front.app(publisher)}/tokens/", {}, token=manage_token)
    for token, status in (("", 401), (front.operator_token, 403), (created.body["token"], 403)):
        assert (await front.call("GET", path, token=token)).status == status


async def test_things_of_another_publisher_are_not_found(front: Front) -> None:
    publisher, manage_token = await front.publisher()
    app_id = await front.app(publisher)
    token = await front.call("POST", f"apps/{app_id}/tokens/", {}, token=manage_token)
    device = await front.call("POST", "test-devices/", {"udid": UDID, "label": "x"}, token=manage_token)
    other_publisher, other_token = await front.publisher("Bob")
    other_app = await front.app(other_publisher)
    for method, path in (
        ("PATCH", f"apps/{app_id}/"),
        ("GET", f"apps/{app_id}/tokens/"),
        ("POST", f"apps/{app_id}/tokens/"),
        ("DELETE", f"apps/{app_id}/tokens/{token.body['id']}/"),
        ("DELETE", f"apps/{other_app}/tokens/{token.body['id']}/"),
        ("DELETE", f"apps/{other_app}/tokens/x/"),
        ("GET", "apps/%00/tokens/"),
        ("PATCH", f"test-devices/{device.body['id']}/"),
        ("DELETE", f"test-devices/{device.body['id']}/"),
        ("DELETE", "test-devices/x/"),
    ):
        body = {} if method in ("POST", "PATCH") else None
        assert (await front.call(method, path, body, token=other_token)).status == 404, (method, path)
    assert len((await front.call("GET", f"apps/{app_id}/tokens/", token=manage_token)).body["items"]) == 1
