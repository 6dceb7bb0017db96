"""What a publisher can do with a manage_ token."""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import uuid4

import pytest

from tests.api.front import Answer, Front

UDID = "00008030-001C2D223A80802E"


async def test_a_publisher_sees_its_own_apps(front: Front) -> None:
    publisher, manage = await front.publisher()
    other, other_manage = await front.publisher("Bob")
    mine = [await front.app(publisher) for _ in range(3)]
    theirs = await front.app(other)
    listed = await front.call("GET", "apps/", token=manage)
    assert sorted(mine) == [item["app_id"] for item in listed.body["items"]]
    assert set(listed.body["items"][0]) == {"app_id", "name", "created_at", "installations_attach_aliases"}
    page = await front.call("GET", "apps?limit=2", token=manage)
    rest = await front.call("GET", f"apps/?cursor={page.body['next']}", token=manage)
    assert [item["app_id"] for item in rest.body["items"]] == sorted(mine)[2:]
    assert [i["app_id"] for i in (await front.call("GET", "apps/", token=other_manage)).body["items"]] == [
        theirs
    ]


class PushTokens(NamedTuple):
    """Two push tokens of one app, as the API answered: `plain` with no field given, `full` with all."""

    path: str
    manage: str
    plain: Answer
    full: Answer


@pytest.fixture
async def push_tokens(front: Front) -> PushTokens:
    publisher, manage = await front.publisher()
    path = f"apps/{await front.app(publisher)}/tokens"
    plain = await front.call("POST", f"{path}/", {}, token=manage)
    front.clock.advance(1)
    body = {
        **{"label": "staging", "test_only": True, "broadcast": True},
        "expires_at": "2026-04-01T00:00:00+02:00",
    }
    return PushTokens(path, manage, plain, await front.call("POST", path, body, token=manage))


async def test_push_tokens_have_the_rights_that_were_asked_for(push_tokens: PushTokens) -> None:
    _, _, plain, full = push_tokens
    assert plain.status == 201
    assert re.fullmatch(r"push_[A-Za-z0-9_-]{48}", plain.body["token"])
    assert full.body["label"] == "staging"
    assert (plain.body["test_only"], plain.body["broadcast"]) == (False, False)
    assert (full.body["test_only"], full.body["broadcast"]) == (True, True)
    assert full.body["expires_at"].startswith("2026-0")


async def test_push_tokens_are_listed_without_their_text(front: Front, push_tokens: PushTokens) -> None:
    path, manage, plain, full = push_tokens
    listed = await front.call("GET", path, token=manage)
    assert [item["id"] for item in listed.body["items"]] == [plain.body["id"], full.body["id"]]
    assert [item["broadcast"] for item in listed.body["items"]] == [False, True]
    assert "push_" not in str(listed.body)
    assert listed.body["items"][0]["last_used_at"] is None


async def test_push_tokens_are_revoked_and_expire(front: Front, push_tokens: PushTokens) -> None:
    path, manage, plain, full = push_tokens
    one = f"{path}/{plain.body['id']}/"
    assert (await front.call("GET", "apps/", token=plain.body["token"])).status == 403
    assert (await front.call("DELETE", one, token=manage)).status == 204
    assert (await front.call("GET", "apps/", token=plain.body["token"])).status == 401, "revoked at once"
    assert (await front.call("DELETE", one, token=manage)).status == 404
    front.clock.advance(60 * 24 * 3600)
    assert (await front.call("GET", "apps/", token=full.body["token"])).status == 401, "expired"


BAD_PUSH_TOKENS: list[tuple[object, str]] = [
    ({"expires_at": "2027-01-01T00:00:00"}, "/expires_at"),
    ({"expires_at": "tomorrow"}, "/expires_at"),
    ({"expires_at": 1900000000}, "/expires_at"),
    ({"label": "a\x00"}, "/label"),
    ({"label": "x" * 201}, "/label"),
    ({"test_only": "yes"}, "/test_only"),
    ({"broadcast": "all"}, "/broadcast"),
    ({"kind": "operator"}, "/kind"),
    ([], ""),
]


async def test_bad_push_tokens(front: Front) -> None:
    publisher, manage = await front.publisher()
    path = f"apps/{await front.app(publisher)}/tokens/"
    for body, pointer in BAD_PUSH_TOKENS:
        answer = await front.call("POST", path, body, token=manage)
        assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer])
    for passed in ("2026-03-01T12:00:00Z", "2026-03-01T13:59:59+02:00", "2020-01-01T00:00:00Z"):
        answer = await front.call("POST", path, {"expires_at": passed}, token=manage)
        assert (answer.status, answer.faults) == (409, [("conflict", "/expires_at")]), passed
    assert (await front.call("GET", path, token=manage)).body["items"] == []


async def test_what_copies_of_an_app_may_do(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    path = f"apps/{app_id}/"
    may = {"installations_attach_aliases": True}
    assert (await front.call("PATCH", path, {}, token=manage)).body["installations_attach_aliases"] is False
    assert (await front.call("PATCH", path, may, token=manage)).body["installations_attach_aliases"] is True
    assert (await front.call("PATCH", path, {}, token=manage)).body["installations_attach_aliases"] is True
    [listed] = (await front.call("GET", "apps/", token=manage)).body["items"]
    assert listed["installations_attach_aliases"] is True
    log = (await front.call("GET", "audit/", token=manage)).body["items"]
    assert [(item["action"], item["subject"]) for item in log if item["action"] == "app.changed"] == [
        ("app.changed", app_id)
    ]
    answer = await front.call("PATCH", path, {"installations_attach_aliases": "yes"}, token=manage)
    assert (answer.status, [pointer for _, pointer in answer.faults]) == (
        422,
        ["/installations_attach_aliases"],
    )
    _, other = await front.publisher("Bob")
    assert (await front.call("PATCH", path, may, token=other)).status == 404


async def test_test_devices(front: Front) -> None:
    _, manage = await front.publisher()
    created = await front.call("POST", "test-devices/", {"udid": UDID, "label": "my phone"}, token=manage)
    assert created.status == 201
    assert {name: created.body[name] for name in ("label", "failure_domain")} == {
        "label": "my phone",
        "failure_domain": "ok",
    }
    same = {"udid": UDID.lower().replace("-", ""), "label": "again"}
    answer = await front.call("POST", "test-devices/", same, token=manage)
    assert (answer.status, answer.faults) == (409, [("conflict", "/udid")])
    _, other = await front.publisher("Bob")
    assert (await front.call("POST", "test-devices/", same, token=other)).status == 201

    one = f"test-devices/{created.body['id']}/"
    changed = await front.call("PATCH", one, {"failure_domain": "slow"}, token=manage)
    assert changed.body == created.body | {"failure_domain": "slow"}
    listed = await front.call("GET", "test-devices", token=manage)
    assert listed.body["items"] == [changed.body]
    assert "001c2d22" not in str([created.body, listed.body]).lower()

    assert (await front.call("DELETE", one, token=manage)).status == 204
    assert (await front.call("DELETE", one, token=manage)).status == 404
    assert (await front.call("GET", "test-devices/", token=manage)).body["items"] == []


BAD_TEST_DEVICES: list[tuple[dict[str, object], str]] = [
    ({"udid": "nonsense"}, "/udid"),
    ({"udid": ""}, "/udid"),
    ({"label": ""}, "/label"),
    ({"label": "\x00"}, "/label"),
    ({"failure_domain": "explode"}, "/failure_domain"),
    ({"failure_domain": None}, "/failure_domain"),
    ({"publisher_id": str(uuid4())}, "/publisher_id"),
]


async def test_bad_test_devices(front: Front) -> None:
    _, manage = await front.publisher()
    for change, pointer in BAD_TEST_DEVICES:
        answer = await front.call(
            "POST", "test-devices/", {"udid": UDID, "label": "x", **change}, token=manage
        )
        assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer])
        assert (await front.call("GET", "test-devices/", token=manage)).body["items"] == []


async def test_what_is_another_publishers_is_not_there(front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    token = await front.call("POST", f"apps/{app_id}/tokens/", {}, token=manage)
    device = await front.call("POST", "test-devices/", {"udid": UDID, "label": "x"}, token=manage)
    other_publisher, other = await front.publisher("Bob")
    their_app = await front.app(other_publisher)
    for method, path in (
        ("GET", f"apps/{app_id}/tokens/"),
        ("POST", f"apps/{app_id}/tokens/"),
        ("DELETE", f"apps/{app_id}/tokens/{token.body['id']}/"),
        ("DELETE", f"apps/{their_app}/tokens/{token.body['id']}/"),
        ("DELETE", f"apps/{their_app}/tokens/x/"),
        ("GET", "apps/%00/tokens/"),
        ("PATCH", f"test-devices/{device.body['id']}/"),
        ("DELETE", f"test-devices/{device.body['id']}/"),
        ("DELETE", "test-devices/x/"),
    ):
        body: object = {} if method in ("POST", "PATCH") else None
        assert (await front.call(method, path, body, token=other)).status == 404, (method, path)
    assert len((await front.call("GET", f"apps/{app_id}/tokens/", token=manage)).body["items"]) == 1
    for token_text, status in (("", 401), (front.operator_token, 403), (token.body["token"], 403)):
        assert (await front.call("GET", "apps/", token=token_text)).status == status
        assert (await front.call("GET", "test-devices/", token=token_text)).status == status


async def test_the_limit_of_a_page_of_outcomes(front: Front) -> None:
    _, manage = await front.publisher()
    path = f"pushes/{uuid4()}/deliveries/?limit="
    for limit in ("0", "1001", "000100999", "9" * 30, "0" * 5000, "x", "²"):
        assert (await front.call("GET", path + limit, token=manage)).status == 400, limit
    assert (await front.call("GET", f"{path}1000", token=manage)).status == 404
