"""Install tokens: valid for one copy, for as long as its enrolment is the one that was signed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient, TestServer

from relay.core.install_tokens import InstallClaims, InstallTokens
from relay.http.authentication import parse_bearer
from relay.store.database import Database
from tests.api.front import KEYS, OTHER_TEAM, Front, application, open_front

TOKEN, OTHER_TOKEN = "ab" * 32, "cd" * 32


async def list_device_tokens(front: Front) -> list[tuple[Any, ...]]:
    """Return all device tokens as (installation id, token, reason of retirement)."""
    async with front.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT installation_id, token, retired_reason FROM device_token ORDER BY installation_id, token"
        )
    return [tuple(row) for row in rows]


async def assert_token_is_refused(front: Front, token: str) -> None:
    """Check that each endpoint for copies answers 401 to `token`, and changes nothing."""
    before = await list_device_tokens(front)
    for method, path, body in (
        ("GET", "installation/", None),
        ("PUT", "installation/device-token/", {"device_token": OTHER_TOKEN}),
        ("DELETE", "installation/device-token/", None),
    ):
        answer = await front.call(method, path, body, token=token)
        assert (answer.status, answer.body["code"]) == (401, "unauthenticated"), (method, path)
        assert await list_device_tokens(front) == before, (method, path)


async def test_the_token_of_a_retired_installation_is_refused(front: Front) -> None:
    body, uuid = front.copy(await front.app()), uuid4()
    token = await front.install(body, uuid)
    await front.register(token, TOKEN)
    await front.call("DELETE", f"operator/installations/{uuid}/")
    await assert_token_is_refused(front, token)
    fresh = await front.install(body, uuid)
    await front.register(fresh, TOKEN)
    await assert_token_is_refused(front, token)


async def test_the_token_of_a_devices_former_customer_is_refused(front: Front) -> None:
    """The uuid is active again, for the next customer and with another serial."""
    body, uuid = front.copy(await front.app()), uuid4()
    former = await front.install(body, uuid)
    await front.register(former, TOKEN)
    next_token = await front.install(body | {"customer": "customer-2"}, uuid)
    await front.register(next_token, TOKEN)
    await assert_token_is_refused(front, former)
    current = await front.install(body, uuid)
    await front.register(current, TOKEN)
    for token in (former, next_token):
        await assert_token_is_refused(front, token)
    assert (await front.call("GET", "installation/", token=current)).status == 200


async def test_the_token_of_a_replaced_uuid_is_refused(front: Front) -> None:
    body = front.copy(await front.app())
    former = await front.install(body)
    current = await front.install(body | {"app_version": "2.0"})
    await front.register(current, TOKEN)
    await assert_token_is_refused(front, former)


async def test_a_token_is_valid_for_its_own_copy_only(front: Front) -> None:
    """Claims and signatures of two tokens cannot be combined."""
    app_id, other_app = await front.app(), await front.app()
    own_token = await front.install(front.copy(app_id))
    others = [
        await front.install(front.copy(app_id, alongside="b")),
        await front.install(front.copy(app_id, udid=front.udid(), customer="customer-2")),
        await front.install(front.copy(other_app, team_id=OTHER_TEAM)),
    ]
    for number, other in enumerate(others):
        await front.register(other, f"{number:064x}")
    before = await list_device_tokens(front)
    claims, _, signature = own_token.partition(".")
    for other in others:
        other_claims, _, other_signature = other.partition(".")
        await assert_token_is_refused(front, f"{other_claims}.{signature}")
        await assert_token_is_refused(front, f"{claims}.{other_signature}")
    await front.register(own_token, TOKEN)
    await front.call("DELETE", "installation/device-token/", token=own_token)
    assert [row for row in await list_device_tokens(front) if row[1].hex() != TOKEN] == before


async def test_a_valid_signature_is_not_enough(front: Front) -> None:
    """App, uuid and serial must be those of an active installation."""
    app_id, other_app, uuid = await front.app(), await front.app(), uuid4()
    token = await front.install(front.copy(app_id), uuid)
    await front.register(token, TOKEN)
    signer = InstallTokens(KEYS)
    claims = signer.verify_token(token)
    assert claims is not None
    for changed in (
        claims._replace(serial=claims.serial + 1),
        claims._replace(serial=claims.serial - 1),
        claims._replace(installation_uuid=uuid4()),
        claims._replace(app_id=other_app),
        InstallClaims("nosuchapp", uuid, claims.serial),
    ):
        await assert_token_is_refused(front, signer.sign_claims(changed))


async def restart_with_keys(front: Front, *keys: str) -> Front:
    """Return a client of the relay after a restart with these `keys.installations`."""
    client = TestClient(TestServer(application(front.database, front.clock, keys)))
    await client.start_server()
    return Front(client, front.clock, front.database, front.operator_token)


@pytest.fixture
async def open_relays() -> AsyncIterator[list[Front]]:
    """A list of clients that are closed after the test."""
    relays: list[Front] = []
    yield relays
    for relay in relays:
        await relay.client.close()


async def test_install_tokens_outlive_a_rotation_of_keys(
    database: Database, open_relays: list[Front]
) -> None:
    old_key, new_key = KEYS
    open_relays.append(await open_front(database))
    for keys in ((old_key,), (old_key, new_key), (new_key,)):
        open_relays.append(await restart_with_keys(open_relays[0], *keys))
    _, before, rotated, after = open_relays
    body, uuid = before.copy(await before.app()), uuid4()
    old_token = await before.install(body, uuid)
    assert (await before.register(old_token, TOKEN)).status == 204

    assert (await rotated.call("GET", "installation/", token=old_token)).status == 200
    assert (await rotated.register(old_token, TOKEN)).status == 204
    new_token = await rotated.install(body, uuid)
    assert new_token != old_token
    assert (await rotated.register(new_token, TOKEN)).status == 204
    await assert_token_is_refused(before, new_token)

    await assert_token_is_refused(after, old_token)
    assert (await after.call("GET", "installation/", token=new_token)).status == 200


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer push_x", "push_x"),
        ("bearer   push_x ", "push_x"),
        ("BEARER push_x", "push_x"),
        ("Basic push_x", ""),
        ("push_x", ""),
        ("Bearer", ""),
        ("Bearer ", ""),
        ("", ""),
    ],
)
def test_the_bearer_token_of_an_authorization_header(authorization: str, token: str) -> None:
    assert parse_bearer(authorization) == token
