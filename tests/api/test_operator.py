"""What the store's operator can do: publishers, apps, credentials."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api import pems
from tests.api.front import TEAM, Front

KEY_ID = "KEY0000001"


async def test_publishers(front: Front) -> None:
    created = await front.call("POST", "operator/publishers/", {"name": "Ada"})
    assert created.status == 201
    assert re.fullmatch(r"manage_[A-Za-z0-9_-]{48}", created.body["manage_token"])
    front.clock.advance(1)
    await front.publisher("Bob")

    listed = await front.call("GET", "operator/publishers/")
    assert [item["name"] for item in listed.body["items"]] == ["Ada", "Bob"]
    assert listed.body["next"] is None
    assert "manage_" not in str(listed.body)

    more = await front.call("POST", f"operator/publishers/{created.body['id']}/tokens")
    assert more.status == 201
    for token in (created.body["manage_token"], more.body["manage_token"]):
        assert (await front.call("GET", "apps/", token=token)).status == 200
    assert (await front.call("POST", f"operator/publishers/{uuid4()}/tokens/")).status == 404
    assert (await front.call("POST", "operator/publishers/nobody/tokens/")).status == 404


async def test_apps(front: Front) -> None:
    publisher, _ = await front.publisher()
    named = await front.call(
        "POST", "operator/apps/", {"publisher_id": publisher, "name": "Chess", "app_id": "chess1"}
    )
    assert (named.status, named.body["app_id"]) == (201, "chess1")
    random = await front.call("POST", "operator/apps", {"publisher_id": publisher, "name": "Go"})
    assert re.fullmatch("[0-9a-f]{40}", random.body["app_id"])

    taken = await front.call(
        "POST", "operator/apps/", {"publisher_id": publisher, "name": "Thief", "app_id": "chess1"}
    )
    assert (taken.status, taken.faults) == (409, [("conflict", "/app_id")])
    listed = await front.call("GET", "operator/apps/")
    assert {item["name"] for item in listed.body["items"]} == {"Chess", "Go"}


BAD_APPS: list[tuple[dict[str, object], tuple[str, str]]] = [
    ({"publisher_id": str(uuid4())}, ("unknown_publisher", "/publisher_id")),
    ({"publisher_id": "x"}, ("invalid_value", "/publisher_id")),
    ({"name": ""}, ("invalid_value", "/name")),
    ({"name": "a\x00b"}, ("invalid_value", "/name")),
    ({"name": "x" * 201}, ("invalid_value", "/name")),
    ({"name": 5}, ("wrong_type", "/name")),
    ({"app_id": "with space"}, ("invalid_value", "/app_id")),
    ({"app_id": "chess\n"}, ("invalid_value", "/app_id")),
    ({"app_id": "x" * 65}, ("invalid_value", "/app_id")),
    ({"app_id": "schäch"}, ("invalid_value", "/app_id")),
    ({"colour": "red"}, ("unknown_field", "/colour")),
]


async def test_bad_apps(front: Front) -> None:
    publisher, _ = await front.publisher()
    for change, fault in BAD_APPS:
        answer = await front.call(
            "POST", "operator/apps/", {"publisher_id": publisher, "name": "Chess", **change}
        )
        assert answer.status == (409 if fault[0] == "unknown_publisher" else 422), change
        code, pointer = answer.faults[0]
        assert pointer == fault[1]
        assert code == fault[0] or (fault[1] == "/publisher_id" and code == "wrong_type")
        assert (await front.call("GET", "operator/apps/")).body["items"] == []


@pytest.mark.parametrize(
    "raw", [rb'{"name": "\ud800"}', rb'{"name": "\udc00x"}', b'{"name": "\xff"}', b"", b"{"]
)
async def test_what_is_no_text_is_refused(front: Front, raw: bytes) -> None:
    answer = await front.call("POST", "operator/publishers/", raw=raw)
    assert answer.status in (400, 422), answer
    assert (await front.call("GET", "operator/publishers/")).body["items"] == []


async def test_lists_come_in_pages(front: Front) -> None:
    names = [f"publisher {number}" for number in range(5)]
    for name in names:
        front.clock.advance(1)
        await front.publisher(name)
    seen, query = [], "?limit=2"
    while query:
        page = (await front.call("GET", f"operator/publishers/{query}")).body
        assert len(page["items"]) <= 2
        seen += [item["name"] for item in page["items"]]
        query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
    assert seen == names
    for query in ("limit=0", "limit=1001", "limit=x", "limit=²", "cursor=x", "cursor=%00"):
        answer = await front.call("GET", f"operator/publishers/?{query}")
        assert (answer.status, answer.body["code"]) == (400, "malformed_request")


async def test_a_key_is_stored_encrypted_and_never_shown(front: Front) -> None:
    secret = pems.p8()
    body = {"team_id": TEAM, "environment": "production", "key_id": KEY_ID, "p8": secret}
    created = await front.call("POST", "operator/credentials/", body)
    assert created.status == 201
    assert created.body | {"id": 0, "created_at": "", "state_since": "", "secret_since": ""} == {
        "id": 0,
        "team_id": TEAM,
        "environment": "production",
        "bundle_id": "",
        "kind": "token",
        "key_id": KEY_ID,
        "version": 1,
        "state": "active",
        "state_reason": "",
        "state_since": "",
        "secret_since": "",
        "created_at": "",
    }
    listed = await front.call("GET", "operator/credentials/")
    assert listed.body["items"] == [created.body]
    async with front.database.connection() as connection:
        stored = await connection.fetchval("SELECT secret FROM credential")
    assert b"PRIVATE KEY" not in stored

    again = await front.call(
        "POST", "operator/credentials/", body | {"p8": pems.p8(), "key_id": "KEY0000002"}
    )
    assert (again.body["id"], again.body["version"]) == (created.body["id"], 2)
    one = f"operator/credentials/{created.body['id']}"
    assert (await front.call("POST", f"{one}/resume/")).status == 204
    assert (await front.call("DELETE", f"{one}/")).status == 204
    assert (await front.call("DELETE", f"{one}/")).status == 404
    assert (await front.call("POST", f"{one}/resume/")).status == 404
    for nothing in ("x", "0", "-1", "9" * 30, "%00"):
        assert (await front.call("DELETE", f"operator/credentials/{nothing}/")).status == 404


async def test_a_certificate_says_whose_it_is(front: Front) -> None:
    pem = pems.certificate(front.clock.now(), team=TEAM, bundle="com.example.chess")
    answer = await front.call("POST", "operator/credentials/", {"environment": "sandbox", "certificate": pem})
    assert answer.status == 201
    described = {name: answer.body[name] for name in ("team_id", "bundle_id", "kind", "environment")}
    assert described == {
        "team_id": TEAM,
        "bundle_id": "com.example.chess",
        "kind": "certificate",
        "environment": "sandbox",
    }
    plain = pems.certificate(front.clock.now())
    body = {"environment": "sandbox", "certificate": plain}
    for given, pointer in (({}, "/team_id"), ({"team_id": TEAM}, "/bundle_id")):
        refused = await front.call("POST", "operator/credentials/", body | given)
        assert refused.faults == [("missing_field", pointer)]
    accepted = await front.call(
        "POST", "operator/credentials/", body | {"team_id": TEAM, "bundle_id": "com.example.go"}
    )
    assert accepted.status == 201


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"p8": lambda: pems.p8(ec.SECP384R1())}, "/p8"),
    ({"p8": pems.rsa_key}, "/p8"),
    ({"p8": lambda: pems.p8(passphrase=b"secret")}, "/p8"),
    ({"p8": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, "/p8"),
    ({"p8": "nonsense\x00"}, "/p8"),
    ({"p8": "é"}, "/p8"),
    ({"p8": None}, ""),
    ({"certificate": "x"}, ""),
    ({"key_id": None}, "/key_id"),
    ({"key_id": "short"}, "/key_id"),
    ({"team_id": None}, "/team_id"),
    ({"team_id": "lower00001"}, "/team_id"),
    ({"environment": "staging"}, "/environment"),
    ({"bundle_id": "com..example"}, "/bundle_id"),
    ({"bundle_id": "com.example*"}, "/bundle_id"),
]


async def test_bad_keys(front: Front) -> None:
    for change, pointer in BAD_KEYS:
        made = {name: value() if callable(value) else value for name, value in change.items()}
        body = {"team_id": TEAM, "environment": "production", "key_id": KEY_ID, "p8": pems.p8(), **made}
        answer = await front.call("POST", "operator/credentials/", body)
        assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer]), change
        assert "BEGIN" not in str(answer.body)
        assert (await front.call("GET", "operator/credentials/")).body["items"] == []


async def test_bad_certificates(front: Front) -> None:
    now = front.clock.now()
    whole = pems.certificate(now, team=TEAM, bundle="com.example.chess")
    for pem, more, pointer in (
        (pems.certificate(now, days=-1), {}, "/certificate"),
        (pems.certificate(now, key=pems.p8()), {}, "/certificate"),
        (whole[: whole.index("-----BEGIN EC")], {}, "/certificate"),
        (pems.p8(), {}, "/certificate"),
        (whole, {"team_id": "TEAM000009"}, "/team_id"),
        (whole, {"bundle_id": "com.example.other"}, "/bundle_id"),
        (whole, {"key_id": KEY_ID}, "/key_id"),
    ):
        answer = await front.call(
            "POST", "operator/credentials/", {"environment": "production", "certificate": pem, **more}
        )
        assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer])


async def test_only_the_operator(front: Front) -> None:
    _, manage = await front.publisher()
    for token, status in (("", 401), ("operator_" + "A" * 48, 401), ("nonsense", 401), (manage, 403)):
        for method, path in (
            ("POST", "operator/publishers/"),
            ("GET", "operator/publishers/"),
            ("POST", f"operator/publishers/{uuid4()}/tokens/"),
            ("POST", "operator/apps/"),
            ("GET", "operator/apps/"),
            ("POST", "operator/credentials/"),
            ("GET", "operator/credentials/"),
            ("POST", "operator/credentials/1/resume/"),
            ("DELETE", "operator/credentials/1/"),
            ("POST", "operator/installations/"),
            ("PUT", f"operator/installations/{uuid4()}/"),
            ("DELETE", f"operator/installations/{uuid4()}/"),
        ):
            answer = await front.call(method, path, {} if method in ("POST", "PUT") else None, token=token)
            assert answer.status == status, (method, path, token)
