"""Publishers, their manage tokens and their apps, as the operator creates them."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from tests.api.front import Front


async def test_publishers_are_listed_without_their_tokens(front: Front) -> None:
    created = await front.call("POST", "operator/publishers/", {"name": "Ada"})
    assert created.status == 201
    assert re.fullmatch(r"manage_[A-Za-z0-9_-]{48}", created.body["manage_token"])
    front.clock.advance(1)
    await front.publisher("Bob")
    listed = await front.call("GET", "operator/publishers/")
    assert [item["name"] for item in listed.body["items"]] == ["Ada", "Bob"]
    assert listed.body["next"] is None
    assert "manage_" not in str(listed.body)


async def test_a_publisher_may_have_several_manage_tokens(front: Front) -> None:
    publisher, first_token = await front.publisher()
    answer = await front.call("POST", f"operator/publishers/{publisher}/tokens")
    assert answer.status == 201
    for token in (first_token, answer.body["manage_token"]):
        assert (await front.call("GET", "apps/", token=token)).status == 200


@pytest.mark.parametrize("publisher", ["00000000-0000-4000-8000-000000000000", "unknown"])
async def test_an_unknown_publisher_gets_no_token(front: Front, publisher: str) -> None:
    assert (await front.call("POST", f"operator/publishers/{publisher}/tokens/")).status == 404


async def test_apps_have_a_chosen_or_a_random_app_id(front: Front) -> None:
    publisher, _ = await front.publisher()
    body = {"publisher_id": publisher, "name": "Chess", "app_id": "chess1"}
    chosen = await front.call("POST", "operator/apps/", body)
    assert (chosen.status, chosen.body["app_id"]) == (201, "chess1")
    random = await front.call("POST", "operator/apps", {"publisher_id": publisher, "name": "Go"})
    assert re.fullmatch("[0-9a-f]{40}", random.body["app_id"])

    refused = await front.call("POST", "operator/apps/", body | {"name": "Thief"})
    assert (refused.status, refused.faults) == (409, [("conflict", "/app_id")])
    listed = await front.call("GET", "operator/apps/")
    assert {item["name"] for item in listed.body["items"]} == {"Chess", "Go"}


BAD_APPS: list[tuple[dict[str, object], int, tuple[str, str]]] = [
    ({"publisher_id": str(uuid4())}, 409, ("unknown_publisher", "/publisher_id")),
    ({"publisher_id": "x"}, 422, ("invalid_value", "/publisher_id")),
    ({"name": ""}, 422, ("invalid_value", "/name")),
    ({"name": "a\x00b"}, 422, ("invalid_value", "/name")),
    ({"name": "x" * 201}, 422, ("invalid_value", "/name")),
    ({"name": 5}, 422, ("wrong_type", "/name")),
    ({"app_id": "with space"}, 422, ("invalid_value", "/app_id")),
    ({"app_id": "chess\n"}, 422, ("invalid_value", "/app_id")),
    ({"app_id": "x" * 65}, 422, ("invalid_value", "/app_id")),
    ({"app_id": "schäch"}, 422, ("invalid_value", "/app_id")),
    ({"colour": "red"}, 422, ("unknown_field", "/colour")),
]


async def test_invalid_apps_are_refused(front: Front) -> None:
    publisher, _ = await front.publisher()
    for change, status, fault in BAD_APPS:
        body = {"publisher_id": publisher, "name": "Chess", **change}
        answer = await front.call("POST", "operator/apps/", body)
        assert (answer.status, answer.faults) == (status, [fault]), change
        assert (await front.call("GET", "operator/apps/")).body["items"] == []


@pytest.mark.parametrize(
    "raw", [rb'{"name": "\ud800"}', rb'{"name": "\udc00x"}', b'{"name": "\xff"}', b"", b"{"]
)
async def test_a_body_that_is_not_unicode_text_is_refused(front: Front, raw: bytes) -> None:
    answer = await front.call("POST", "operator/publishers/", raw=raw)
    assert answer.status in (400, 422), answer
    assert (await front.call("GET", "operator/publishers/")).body["items"] == []


async def test_publishers_are_listed_in_pages(front: Front) -> None:
    names = [f"publisher {number}" for number in range(5)]
    for name in names:
        front.clock.advance(1)
        await front.publisher(name)
    listed, query = [], "?limit=2"
    while query:
        page = (await front.call("GET", f"operator/publishers/{query}")).body
        assert len(page["items"]) <= 2
        listed += [item["name"] for item in page["items"]]
        query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
    assert listed == names


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=²", "cursor=x", "cursor=%00"])
async def test_a_page_that_cannot_be_is_refused(front: Front, query: str) -> None:
    answer = await front.call("GET", f"operator/publishers/?{query}")
    assert (answer.status, answer.body["code"]) == (400, "malformed_request")
