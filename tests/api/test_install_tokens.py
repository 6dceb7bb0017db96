"""An install_ token acts for one copy, while that copy is what it was when the token was signed; else for nothing."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from aiohttp.test_utils import TestClient, TestServer

from relay.core.install_tokens import InstallClaims, InstallTokens
from relay.store.database import Database
from tests.api.front import KEYS, OTHER_TEAM, Front, application, open_front

TOKEN, OTHER_TOKEN = "ab" * 32, "cd" * 32


async def device_tokens(front: Front) -> list[tuple[Any, ...]]:
    """Whose device token is where, and whether it is active."""
    async with front.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT installation_id, token, retired_reason FROM device_token ORDER BY installation_id, token"
        )
    return [tuple(row) for row in rows]


async def assert_good_for_nothing(front: Front, token: str) -> None:
    before = await device_tokens(front)
    for method, path, body in (
        ("GET", "installation/", None),
        ("PUT", "installation/device-token/", {"device_token": OTHER_TOKEN}),
        ("DELETE", "installation/device-token/", None),
    ):
        answer = await front.call(method, path, body, token=token)
        assert (answer.status, answer.body["code"]) == (401, "unauthenticated"), (method, path)
        assert await device_tokens(front) == before, (method, path)


async def test_replayed_after_its_copy_was_retired(front: Front) -> None:
    body, uuid = front.copy(await front.app()), uuid4()
    token = await front.install(body, uuid)
    await front.register(token, TOKEN)
    await front.call("DELETE", f"operator/installations/{uuid}/")
    await assert_good_for_nothing(front, token)
    fresh = await front.install(body, uuid)
    await front.register(fresh, TOKEN)
    await assert_good_for_nothing(front, token)


async def test_replayed_after_its_uuid_moved_on(front: Front) -> None:
    """To the same device's next owner: the uuid is active again, but not for the former owner's token."""
    body, uuid = front.copy(await front.app()), uuid4()
    mine = await front.install(body, uuid)
    await front.register(mine, TOKEN)
    theirs = await front.install(body | {"customer": "customer-2"}, uuid)
    await front.register(theirs, TOKEN)
    await assert_good_for_nothing(front, mine)
    back = await front.install(body, uuid)
    await front.register(back, TOKEN)
    for former in (mine, theirs):
        await assert_good_for_nothing(front, former)
    assert (await front.call("GET", "installation/", token=back)).status == 200


async def test_replayed_after_its_copy_got_another_uuid(front: Front) -> None:
    body = front.copy(await front.app())
    former = await front.install(body)
    current = await front.install(body | {"app_version": "2.0"})
    await front.register(current, TOKEN)
    await assert_good_for_nothing(front, former)


async def test_it_reaches_no_other_copy(front: Front) -> None:
    """Neither by another's claims under its own signature, nor by what it registers."""
    app_id, other_app = await front.app(), await front.app()
    mine = await front.install(front.copy(app_id))
    others = [
        await front.install(front.copy(app_id, alongside="b")),
        await front.install(front.copy(app_id, udid=front.udid(), customer="customer-2")),
        await front.install(front.copy(other_app, team_id=OTHER_TEAM)),
    ]
    for number, other in enumerate(others):
        await front.register(other, f"{number:064x}")
    seen = await device_tokens(front)
    claims, _, signature = mine.partition(".")
    for other in others:
        other_claims, _, other_signature = other.partition(".")
        await assert_good_for_nothing(front, f"{other_claims}.{signature}")
        await assert_good_for_nothing(front, f"{claims}.{other_signature}")
    await front.register(mine, TOKEN)
    await front.call("DELETE", "installation/device-token/", token=mine)
    assert [row for row in await device_tokens(front) if row[1].hex() != TOKEN] == seen


async def test_signed_by_us_for_what_is_not_so(front: Front) -> None:
    """A signature alone is not enough: app, uuid and serial must be those of an active copy."""
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
        await assert_good_for_nothing(front, signer.sign_claims(changed))


async def with_keys(front: Front, *keys: str) -> Front:
    """The same relay after a restart with these keys.installations."""
    client = TestClient(TestServer(application(front.database, front.clock, keys)))
    await client.start_server()
    return Front(client, front.clock, front.database, front.operator_token)


async def test_key_rotation(database: Database) -> None:
    old, new = KEYS
    before = await open_front(database)
    started = [before]
    try:
        before = await with_keys(before, old)
        started.append(before)
        body, uuid = before.copy(await before.app()), uuid4()
        token = await before.install(body, uuid)
        await before.register(token, TOKEN)

        rotated = await with_keys(before, old, new)
        started.append(rotated)
        assert (await rotated.call("GET", "installation/", token=token)).status == 200
        assert (await rotated.register(token, TOKEN)).status == 204
        fresh = await rotated.install(body, uuid)
        assert fresh != token
        assert (await rotated.register(fresh, TOKEN)).status == 204
        await assert_good_for_nothing(before, fresh)

        removed = await with_keys(before, new)
        started.append(removed)
        await assert_good_for_nothing(removed, token)
        assert (await removed.call("GET", "installation/", token=fresh)).status == 200
    finally:
        for one in started:
            await one.client.close()
