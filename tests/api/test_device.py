"""The endpoints of an installed copy: its data and its device tokens."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.api.front import IDENTIFIERS, OTHER_TEAM, Front

TOKEN = "ab" * 32
OTHER_TOKEN = "cd" * 32


async def install_copy(front: Front, **changes: object) -> str:
    """Enrol a copy of a new app. Returns its install token."""
    return await front.install(front.copy(await front.app(), **changes))


async def test_a_copy_reads_its_installation(front: Front) -> None:
    app_id, uuid = await front.app(), uuid4()
    token = await front.install(front.copy(app_id, alongside="copy2"), uuid)
    answer = await front.call("GET", "installation/", token=token)
    assert answer.status == 200
    customer, device = answer.body.pop("customer_id"), answer.body.pop("device_id")
    assert IDENTIFIERS.is_customer(app_id, customer)
    assert IDENTIFIERS.is_device(app_id, customer, device)
    assert answer.body == {
        "installation_uuid": str(uuid),
        "app_id": app_id,
        "alongside": "copy2",
        "bundle_id": "com.example.chess",
        "team_id": "TEAM000001",
        "environment": "production",
        "app_version": "1.0",
        "services": ["push"],
    }


async def test_a_copy_registers_and_withdraws_device_tokens(front: Front) -> None:
    token = await install_copy(front)
    assert (await front.register(token, TOKEN.upper())).status == 204
    assert (await front.register(token, OTHER_TOKEN, kind="voip")).status == 204
    assert await front.tokens() == {TOKEN: ("apns", None), OTHER_TOKEN: ("voip", None)}
    assert (await front.call("DELETE", "installation/device-token", token=token)).status == 204
    assert (await front.call("DELETE", "installation/device-token/?kind=voip", token=token)).status == 204
    assert await front.tokens() == {TOKEN: ("apns", "withdrawn"), OTHER_TOKEN: ("voip", "withdrawn")}


async def test_a_repeated_registration_writes_nothing(front: Front) -> None:
    token = await install_copy(front)
    async with front.database.connection() as connection:
        rows = (
            "SELECT xmin, xmax, ctid, t.* FROM device_token t",
            "SELECT xmin, xmax, ctid, i.* FROM installation i",
        )
        assert (await front.register(token, TOKEN)).status == 204
        before = [await connection.fetch(sql) for sql in rows]
        front.clock.advance(60)
        assert (await front.register(token, TOKEN)).status == 204
        assert [await connection.fetch(sql) for sql in rows] == before


async def test_a_token_registered_after_its_retirement_is_active_since_then(front: Front) -> None:
    """An answer of Apple from before the registration must not retire it."""
    token = await install_copy(front)
    await front.register(token, TOKEN)
    await front.call("DELETE", "installation/device-token/", token=token)
    front.clock.advance(60)
    await front.register(token, TOKEN)
    async with front.database.connection() as connection:
        row = await connection.fetchrow("SELECT registered_at, retired_at, retired_reason FROM device_token")
    assert row is not None
    assert tuple(row) == (front.clock.now(), None, None)


async def test_a_new_token_replaces_the_former(front: Front) -> None:
    token = await install_copy(front)
    await front.register(token, TOKEN)
    await front.register(token, OTHER_TOKEN)
    assert await front.tokens() == {OTHER_TOKEN: ("apns", None)}


async def test_a_token_belongs_to_the_copy_that_registered_it_last(front: Front) -> None:
    app_id = await front.app()
    first = await front.install(front.copy(app_id))
    second = await front.install(front.copy(app_id, alongside="b"))
    await front.register(first, TOKEN)
    assert (await front.register(second, TOKEN)).status == 204
    async with front.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT alongside, retired_reason FROM device_token "
            "JOIN installation USING (app_id, installation_id) ORDER BY alongside"
        )
    assert [tuple(row) for row in rows] == [("", "moved"), ("b", None)]


BAD_REGISTRATIONS: list[tuple[object, tuple[str, str]]] = [
    ({}, ("missing_field", "/device_token")),
    ({"device_token": "xyz"}, ("invalid_value", "/device_token")),
    ({"device_token": "ab" * 7}, ("invalid_value", "/device_token")),
    ({"device_token": "ab" * 101}, ("invalid_value", "/device_token")),
    ({"device_token": "ab" * 32 + "a"}, ("invalid_value", "/device_token")),
    ({"device_token": TOKEN + "\n"}, ("invalid_value", "/device_token")),
    ({"device_token": None}, ("wrong_type", "/device_token")),
    ({"device_token": TOKEN, "kind": "fax"}, ("invalid_value", "/kind")),
    ({"device_token": TOKEN, "kind": "liveactivity:"}, ("invalid_value", "/kind")),
    ({"device_token": TOKEN, "other": 1}, ("unknown_field", "/other")),
    ([], ("wrong_type", "")),
]


async def test_invalid_registrations_are_refused(front: Front) -> None:
    token = await install_copy(front)
    for body, fault in BAD_REGISTRATIONS:
        answer = await front.call("PUT", "installation/device-token/", body, token=token)
        assert (answer.status, answer.faults) == (422, [fault])
        assert TOKEN not in str(answer.body)
        assert await front.tokens() == {}


async def test_an_invalid_kind_in_the_query_is_refused(front: Front) -> None:
    answer = await front.call(
        "DELETE", "installation/device-token/?kind=%00", token=await install_copy(front)
    )
    assert answer.status == 400


async def test_a_copy_has_at_most_a_hundred_kinds_of_tokens(front: Front) -> None:
    token = await install_copy(front)
    for number in range(100):
        answer = await front.register(token, f"{number:064x}", kind=f"liveactivity:{number}")
        assert answer.status == 204
    answer = await front.register(token, TOKEN, kind="liveactivity:100")
    assert (answer.status, answer.faults) == (409, [("too_many", "/kind")])
    await front.call("DELETE", "installation/device-token/?kind=liveactivity:0", token=token)
    assert (await front.register(token, TOKEN, kind="liveactivity:100")).status == 204
    assert len(await front.tokens()) == 100


async def test_tokens_of_live_activities_are_deleted_after_a_day(front: Front) -> None:
    token = await install_copy(front)
    await front.register(token, TOKEN, kind="liveactivity:1")
    front.clock.advance(25 * 3600)
    assert (await front.register(token, OTHER_TOKEN, kind="liveactivity:2")).status == 204
    assert await front.tokens() == {OTHER_TOKEN: ("liveactivity:2", None)}


async def test_other_tokens_than_install_tokens_are_refused(front: Front) -> None:
    for token, status in (
        ("", 401),
        ("install_nonsense", 401),
        ("push_nonsense", 401),
        (front.operator_token, 403),
        ((await front.publisher())[1], 403),
    ):
        for method, path in (
            ("GET", "installation/"),
            ("PUT", "installation/device-token/"),
            ("DELETE", "installation/device-token/"),
        ):
            answer = await front.call(method, path, token=token)
            assert answer.status == status, (token, method)
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)


async def test_the_token_of_a_retired_copy_stays_refused(front: Front) -> None:
    app_id, uuid = await front.app(), uuid4()
    body = front.copy(app_id)
    token = await front.install(body, uuid)
    await front.register(token, TOKEN)
    assert (await front.call("DELETE", f"operator/installations/{uuid}/")).status == 204
    assert await front.tokens() == {TOKEN: ("apns", "removed")}
    assert (await front.call("GET", "installation/", token=token)).status == 401
    assert (await front.register(token, OTHER_TOKEN)).status == 401

    fresh = await front.put(body, uuid)
    assert fresh.status == 201
    assert (await front.call("GET", "installation/", token=token)).status == 401
    assert (await front.call("GET", "installation/", token=fresh.body["install_token"])).status == 200


async def test_the_token_of_a_replaced_copy_stays_refused(front: Front) -> None:
    body, uuid = front.copy(await front.app()), uuid4()
    former = await front.install(body, uuid)
    await front.register(former, TOKEN)
    current = await front.install(body | {"app_version": "2.0"})
    assert (await front.call("GET", "installation/", token=former)).status == 401
    assert (await front.call("GET", "installation/", token=current)).status == 200
    assert await front.tokens() == {TOKEN: ("apns", None)}, (
        "a copy keeps its token while its bundle id is unchanged"
    )
    again = await front.install(body, uuid)
    assert again not in (former, current)
    assert (await front.call("GET", "installation/", token=former)).status == 401


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bundle_id": "com.example.other"}, "moved"),
        ({"team_id": OTHER_TEAM}, "moved"),
        ({"environment": "sandbox"}, "moved"),
        ({"environment": None}, None),
        ({"app_version": "2.0"}, None),
    ],
)
async def test_a_change_of_the_topic_retires_the_device_token(
    front: Front, changes: dict[str, str | None], reason: str | None
) -> None:
    body, uuid = front.copy(await front.app()), uuid4()
    token = await front.install(body, uuid)
    await front.register(token, TOKEN)
    assert await front.install(body | changes, uuid) == token
    assert await front.tokens() == {TOKEN: ("apns", reason)}


async def test_changes_of_a_copy_do_not_change_its_identifiers(front: Front) -> None:
    body = front.copy(await front.app())
    identifiers = set()
    uuid: UUID | None = uuid4()
    for changes in ({}, {"app_version": "2"}, {"team_id": OTHER_TEAM}, {"alongside": "b"}):
        answer = await front.call(
            "GET", "installation/", token=await front.install(body | changes, uuid if not changes else None)
        )
        identifiers.add((answer.body["customer_id"], answer.body["device_id"]))
    assert len(identifiers) == 1
