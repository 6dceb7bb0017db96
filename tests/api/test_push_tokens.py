"""Push tokens of an app, as its publisher creates, lists and revokes them."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.api.front import Answer, Front


class PushTokens(NamedTuple):
    """Two push tokens of one app, as the API answered: `plain` with no field given, `full` with all."""

    path: str
    manage_token: str
    plain: Answer
    full: Answer


@pytest.fixture
async def push_tokens(front: Front) -> PushTokens:
    publisher, manage_token = await front.publisher()
    path = f"apps/{await front.app(publisher)}/tokens"
    plain = await front.call("POST", f"{path}/", {}, token=manage_token)
    front.clock.advance(1)
    rights = {"label": "staging", "test_only": True, "broadcast": True}
    body = {**rights, "expires_at": "2026-04-01T00:00:00+02:00"}
    return PushTokens(path, manage_token, plain, await front.call("POST", path, body, token=manage_token))


async def test_push_tokens_have_the_rights_that_were_asked_for(push_tokens: PushTokens) -> None:
    _, _, plain, full = push_tokens
    assert plain.status == 201
    assert re.fullmatch(r"push_[A-Za-z0-9_-]{48}", plain.body["token"])
    assert full.body["label"] == "staging"
    assert (plain.body["test_only"], plain.body["broadcast"]) == (False, False)
    assert (full.body["test_only"], full.body["broadcast"]) == (True, True)
    assert full.body["expires_at"] == "2026-03-31T22:00:00Z"


async def test_push_tokens_are_listed_without_their_text(front: Front, push_tokens: PushTokens) -> None:
    path, manage_token, plain, full = push_tokens
    listed = await front.call("GET", path, token=manage_token)
    assert [item["id"] for item in listed.body["items"]] == [plain.body["id"], full.body["id"]]
    assert [item["broadcast"] for item in listed.body["items"]] == [False, True]
    assert "push_" not in str(listed.body)
    assert listed.body["items"][0]["last_used_at"] is None


async def test_a_revoked_push_token_is_refused_at_once(front: Front, push_tokens: PushTokens) -> None:
    path, manage_token, plain, _ = push_tokens
    token_path = f"{path}/{plain.body['id']}/"
    assert (await front.call("GET", "apps/", token=plain.body["token"])).status == 403
    assert (await front.call("DELETE", token_path, token=manage_token)).status == 204
    assert (await front.call("GET", "apps/", token=plain.body["token"])).status == 401
    assert (await front.call("DELETE", token_path, token=manage_token)).status == 404


async def test_an_expired_push_token_is_refused(front: Front, push_tokens: PushTokens) -> None:
    assert (await front.call("GET", "apps/", token=push_tokens.full.body["token"])).status == 403
    front.clock.advance(60 * 24 * 3600)
    assert (await front.call("GET", "apps/", token=push_tokens.full.body["token"])).status == 401


BAD_PUSH_TOKENS: list[tuple[object, int, str]] = [
    ({"expires_at": "2027-01-01T00:00:00"}, 422, "/expires_at"),
    ({"expires_at": "tomorrow"}, 422, "/expires_at"),
    ({"expires_at": 1900000000}, 422, "/expires_at"),
    ({"expires_at": "0001-01-01T00:00:00+02:00"}, 422, "/expires_at"),
    ({"expires_at": "2026-03-01T12:00:00Z"}, 409, "/expires_at"),
    ({"expires_at": "2026-03-01T13:59:59+02:00"}, 409, "/expires_at"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, 409, "/expires_at"),
    ({"label": "a\x00"}, 422, "/label"),
    ({"label": "x" * 201}, 422, "/label"),
    ({"test_only": "yes"}, 422, "/test_only"),
    ({"broadcast": "all"}, 422, "/broadcast"),
    ({"kind": "operator"}, 422, "/kind"),
    ([], 422, ""),
]


async def test_invalid_push_tokens_are_refused(front: Front) -> None:
    publisher, manage_token = await front.publisher()
    path = f"apps/{await front.app(publisher)}/tokens/"
    for body, status, pointer in BAD_PUSH_TOKENS:
        answer = await front.call("POST", path, body, token=manage_token)
        assert (answer.status, [place for _, place in answer.faults]) == (status, [pointer]), body
    assert (await front.call("GET", path, token=manage_token)).body["items"] == []
