"""Credentials for APNs, as the operator stores, suspends, resumes and removes them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api import pems
from tests.api.front import TEAM, Front

KEY_ID = "KEY0000001"
BUNDLE_ID = "com.example.chess"
PATH = "operator/credentials/"


async def put_key(front: Front, key_id: str = KEY_ID) -> dict[str, Any]:
    body = {"team_id": TEAM, "environment": "production", "key_id": key_id, "p8": pems.p8()}
    answer = await front.call("POST", PATH, body)
    assert answer.status == 201, answer
    return dict(answer.body)


async def test_a_key_is_listed_without_its_secret(front: Front) -> None:
    created = await put_key(front)
    described = {
        "team_id": TEAM,
        "environment": "production",
        "bundle_id": "",
        "kind": "token",
        "key_id": KEY_ID,
        "version": 1,
        "state": "active",
        "state_reason": "",
    }
    others = {"id", "created_at", "state_since", "secret_since"}
    assert created == described | {name: created[name] for name in others}
    assert (await front.call("GET", PATH)).body["items"] == [created]


async def test_a_key_is_stored_encrypted(front: Front) -> None:
    await put_key(front)
    async with front.database.connection() as connection:
        stored = await connection.fetchval("SELECT secret FROM credential")
    assert b"PRIVATE KEY" not in stored


async def test_a_key_replaces_the_one_of_its_team_and_environment(front: Front) -> None:
    created, replaced = await put_key(front), await put_key(front, "KEY0000002")
    assert (replaced["id"], replaced["version"]) == (created["id"], 2)
    assert [item["key_id"] for item in (await front.call("GET", PATH)).body["items"]] == ["KEY0000002"]


async def test_a_credential_is_suspended_resumed_and_removed(front: Front) -> None:
    credential = f"{PATH}{(await put_key(front))['id']}"
    for method, action, state in (("POST", "/suspend/", "suspended"), ("POST", "/resume/", "active")):
        for _ in range(2):
            assert (await front.call(method, credential + action)).status == 204
            assert [item["state"] for item in (await front.call("GET", PATH)).body["items"]] == [state]
    assert (await front.call("DELETE", f"{credential}/")).status == 204
    assert (await front.call("GET", PATH)).body["items"] == []


@pytest.mark.parametrize("credential_id", ["1", "x", "0", "-1", "9" * 30, "%00"])
async def test_an_unknown_credential_is_not_found(front: Front, credential_id: str) -> None:
    path = f"{PATH}{credential_id}/"
    for method, action in (("DELETE", ""), ("POST", "resume/"), ("POST", "suspend/")):
        assert (await front.call(method, path + action)).status == 404, action


async def test_a_certificate_names_its_team_and_bundle_id(front: Front) -> None:
    pem = pems.certificate(front.clock.now(), team=TEAM, bundle=BUNDLE_ID)
    answer = await front.call("POST", PATH, {"environment": "sandbox", "certificate": pem})
    assert answer.status == 201
    described = {name: answer.body[name] for name in ("team_id", "bundle_id", "kind", "environment")}
    assert described == {
        "team_id": TEAM,
        "bundle_id": BUNDLE_ID,
        "kind": "certificate",
        "environment": "sandbox",
    }


async def test_what_a_certificate_does_not_name_must_be_given(front: Front) -> None:
    body = {"environment": "sandbox", "certificate": pems.certificate(front.clock.now())}
    for given, pointer in (({}, "/team_id"), ({"team_id": TEAM}, "/bundle_id")):
        refused = await front.call("POST", PATH, body | given)
        assert refused.faults == [("missing_field", pointer)]
    accepted = await front.call("POST", PATH, body | {"team_id": TEAM, "bundle_id": "com.example.go"})
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
"""Changes to the body of a usable key, and the pointer of the fault. A function makes its value."""


async def test_unusable_keys_are_refused(front: Front) -> None:
    for change, pointer in BAD_KEYS:
        values = {name: value() if callable(value) else value for name, value in change.items()}
        body = {"team_id": TEAM, "environment": "production", "key_id": KEY_ID, "p8": pems.p8(), **values}
        answer = await front.call("POST", PATH, body)
        assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer]), change
        assert "BEGIN" not in str(answer.body)
        assert (await front.call("GET", PATH)).body["items"] == []


async def test_unusable_certificates_are_refused(front: Front) -> None:
    now = front.clock.now()
    usable = pems.certificate(now, team=TEAM, bundle=BUNDLE_ID)
    for pem, fields, pointer in (
        (pems.certificate(now, days=-1), {}, "/certificate"),
        (pems.certificate(now, key=pems.p8()), {}, "/certificate"),
        (usable[: usable.index("-----BEGIN EC")], {}, "/certificate"),
        (pems.p8(), {}, "/certificate"),
        (usable, {"team_id": "TEAM000009"}, "/team_id"),
        (usable, {"bundle_id": "com.example.other"}, "/bundle_id"),
        (usable, {"key_id": KEY_ID}, "/key_id"),
    ):
        answer = await front.call("POST", PATH, {"environment": "production", "certificate": pem, **fields})
        assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer])
