"""How the store enrols and retires copies, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.api.front import TEAM, Front

UDID = "00008030-001c2d223a80802e"
TOKEN = "ab" * 32


async def count(front: Front, table: str = "installation") -> int:
    async with front.database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


async def identity(front: Front, install_token: str) -> Any:
    return (await front.call("GET", "installation/", token=install_token)).body


async def test_a_copy_is_enrolled_once(front: Front) -> None:
    body, uuid = front.copy(await front.app()), uuid4()
    created = await front.put(body, uuid)
    assert created.status == 201
    assert created.body["installation_uuid"] == str(uuid)
    again = await front.put(body | {"udid": UDID.upper().replace("-", "")}, uuid)
    assert (again.status, again.body) == (200, created.body)
    assert await count(front) == await count(front, "device") == 1


async def test_only_what_must_be_given_must_be_given(front: Front) -> None:
    body = {
        "app_id": await front.app(),
        "customer": "k",
        "udid": UDID,
        "bundle_id": "com.example.chess",
        "team_id": TEAM,
    }
    assert (await front.put(body)).status == 201
    assert (await identity(front, await front.install(body)))["environment"] is None


async def test_copies_side_by_side_and_apps_side_by_side(front: Front) -> None:
    app_id, other_app = await front.app(), await front.app()
    copies = [
        await front.install(
            front.copy(app_id, alongside=alongside, bundle_id=f"com.example.{alongside or 'x'}")
        )
        for alongside in ("", "b", "abc12")
    ]
    other = await front.install(front.copy(other_app))
    seen = [await identity(front, token) for token in (*copies, other)]
    assert len({(one["customer_id"], one["device_id"]) for one in seen[:3]}) == 1
    assert seen[3]["customer_id"] != seen[0]["customer_id"]
    assert seen[3]["device_id"] != seen[0]["device_id"]


async def test_two_devices_of_a_customer(front: Front) -> None:
    app_id = await front.app()
    seen = [
        await identity(front, await front.install(front.copy(app_id, udid=front.udid()))) for _ in range(2)
    ]
    assert seen[0]["customer_id"] == seen[1]["customer_id"]
    assert seen[0]["device_id"] != seen[1]["device_id"]


async def test_a_uuid_belongs_to_one_copy(front: Front) -> None:
    app_id, uuid = await front.app(), uuid4()
    body = front.copy(app_id)
    await front.install(body, uuid)
    for change in ({"app_id": await front.app()}, {"udid": front.udid()}, {"alongside": "b"}):
        answer = await front.put(body | change, uuid)
        assert (answer.status, answer.faults) == (409, [("conflict", "/installation_uuid")])
    await front.install(body)  # another version, with another uuid
    answer = await front.put(body | {"alongside": "b"}, uuid)
    assert answer.status == 409, "a former uuid is not free"
    assert await count(front) == 1


async def test_a_device_that_changes_hands(front: Front) -> None:
    """The former customer's copies on it are retired, in all apps; the new one is not linkable to them."""
    app_id, other_app, uuid = await front.app(), await front.app(), uuid4()
    mine = await front.install(front.copy(app_id), uuid)
    also_mine = await front.install(front.copy(other_app))
    elsewhere = await front.install(front.copy(app_id, udid=front.udid()))
    await front.register(mine, TOKEN)
    await front.register(also_mine, "cd" * 32)
    before = await identity(front, mine)

    theirs = await front.put(front.copy(app_id, customer="customer-2"), uuid)
    assert theirs.status == 201, "the same copy, taken over"
    after = await identity(front, theirs.body["install_token"])
    assert before["customer_id"] != after["customer_id"]
    assert before["device_id"] != after["device_id"]
    for token, status in ((mine, 401), (also_mine, 401), (elsewhere, 200)):
        assert (await front.call("GET", "installation/", token=token)).status == status
    assert await front.tokens() == {
        TOKEN: ("apns", "customer_changed"),
        "cd" * 32: ("apns", "customer_changed"),
    }

    back = await front.put(front.copy(app_id), uuid)
    assert back.status == 201
    assert await identity(front, back.body["install_token"]) == before
    for token in (mine, theirs.body["install_token"]):
        assert (await front.call("GET", "installation/", token=token)).status == 401


async def test_retiring(front: Front) -> None:
    app_id, uuid = await front.app(), uuid4()
    path = f"operator/installations/{uuid}"
    assert (await front.call("DELETE", path)).status == 404
    await front.install(front.copy(app_id), uuid)
    assert [(await front.call("DELETE", path)).status for _ in range(2)] == [204, 204]
    newer = await front.install(front.copy(app_id))
    assert (await front.call("DELETE", path)).status == 204
    assert (await front.call("GET", "installation/", token=newer)).status == 200, "only that uuid is retired"
    for nothing in ("x", "1b7d4f0a2c3e4d5f8a9b0c1d2e3f4a5b", "{1b7d4f0a-2c3e-4d5f-8a9b-0c1d2e3f4a5b}", "%00"):
        assert (await front.call("DELETE", f"operator/installations/{nothing}/")).status == 404
        assert (await front.call("PUT", f"operator/installations/{nothing}/", {})).status == 404


BAD_COPIES: list[tuple[dict[str, Any], str, str]] = [
    ({"app_id": "unknown"}, "unknown_app", "/app_id"),
    ({"app_id": None}, "wrong_type", "/app_id"),
    ({"customer": ""}, "invalid_value", "/customer"),
    ({"customer": "a\x00"}, "invalid_value", "/customer"),
    ({"customer": "x" * 201}, "invalid_value", "/customer"),
    ({"udid": "123"}, "invalid_value", "/udid"),
    ({"udid": UDID + "\n"}, "invalid_value", "/udid"),
    ({"alongside": "toolong"}, "invalid_value", "/alongside"),
    ({"alongside": "a-b"}, "invalid_value", "/alongside"),
    ({"alongside": None}, "wrong_type", "/alongside"),
    ({"bundle_id": ".com"}, "invalid_value", "/bundle_id"),
    ({"team_id": "TEAM"}, "invalid_value", "/team_id"),
    ({"environment": "test"}, "invalid_value", "/environment"),
    ({"app_version": "1\x00"}, "invalid_value", "/app_version"),
    ({"colour": "red"}, "unknown_field", "/colour"),
    ({"installation_uuid": str(uuid4())}, "unknown_field", "/installation_uuid"),
]


async def test_bad_copies(front: Front) -> None:
    app_id = await front.app()
    for change, code, pointer in BAD_COPIES:
        answer = await front.put(front.copy(app_id) | change)
        status = 409 if code == "unknown_app" else 422
        assert (answer.status, answer.faults) == (status, [(code, pointer)]), change
        many = [front.copy(app_id, installation_uuid=str(uuid4()), udid=front.udid()) for _ in range(3)]
        many[1] |= change
        if pointer == "/installation_uuid":
            many[1]["installation_uuid"] = "x"
            code = "invalid_value"
        answer = await front.call("POST", "operator/installations/", {"installations": many})
        assert (answer.status, answer.faults) == (status, [(code, f"/installations/1{pointer}")])
        assert await count(front) == await count(front, "customer") == await count(front, "device") == 0


async def test_a_thousand_at_once(front: Front) -> None:
    apps = [await front.app(), await front.app()]
    copies = [
        front.copy(
            apps[number % 2],
            installation_uuid=str(uuid4()),
            customer=f"customer {number // 4}",
            udid=f"{number // 2:024x}",
        )
        for number in range(1000)
    ]
    answer = await front.call("POST", "operator/installations/", {"installations": copies})
    assert answer.status == 200, answer.body
    enrolled = answer.body["installations"]
    assert [one["installation_uuid"] for one in enrolled] == [one["installation_uuid"] for one in copies]
    for number in (0, 1, 999):
        seen = await identity(front, enrolled[number]["install_token"])
        assert seen["installation_uuid"] == copies[number]["installation_uuid"]
        assert seen["app_id"] == copies[number]["app_id"]
    assert (await count(front), await count(front, "device"), await count(front, "customer")) == (
        1000,
        500,
        250,
    )
    again = await front.call("POST", "operator/installations", {"installations": copies[::-1]})
    assert again.body["installations"] == enrolled[::-1]

    too_many = [*copies, front.copy(apps[0], installation_uuid=str(uuid4()))]
    refused: tuple[object, ...] = (too_many, [], {}, None)
    for bad in refused:
        answer = await front.call("POST", "operator/installations/", {"installations": bad})
        assert (answer.status, answer.faults[0][1]) == (422, "/installations")


async def test_contradictions_in_one_request(front: Front) -> None:
    app_id, uuid = await front.app(), str(uuid4())
    first = front.copy(app_id, installation_uuid=uuid)
    for second, pointer in (
        (front.copy(app_id, installation_uuid=uuid.upper(), udid=front.udid()), "/installation_uuid"),
        (front.copy(app_id, installation_uuid=str(uuid4())), "/alongside"),
        (front.copy(app_id, installation_uuid=str(uuid4()), alongside="b", customer="other"), "/udid"),
    ):
        answer = await front.call("POST", "operator/installations/", {"installations": [first, second]})
        assert (answer.status, answer.faults) == (409, [("duplicate", f"/installations/1{pointer}")])
    assert await count(front) == 0
