"""Installations, as the operator enrols and retires them, singly and in bulk."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.api.front import TEAM, Front

UDID = "00008030-001c2d223a80802e"
TOKEN = "ab" * 32
OTHER_TOKEN = "cd" * 32
PATH = "operator/installations/"


async def count_rows(front: Front, table: str = "installation") -> int:
    async with front.database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


async def read_installation(front: Front, install_token: str) -> Any:
    return (await front.call("GET", "installation/", token=install_token)).body


async def test_an_installation_is_enrolled_once(front: Front) -> None:
    body, uuid = front.copy(await front.app()), uuid4()
    created = await front.put(body, uuid)
    assert created.status == 201
    assert created.body["installation_uuid"] == str(uuid)
    again = await front.put(body | {"udid": UDID.upper().replace("-", "")}, uuid)
    assert (again.status, again.body) == (200, created.body)
    assert await count_rows(front) == await count_rows(front, "device") == 1


async def test_optional_fields_may_be_left_out(front: Front) -> None:
    body = {
        "app_id": await front.app(),
        "customer": "k",
        "udid": UDID,
        "bundle_id": "com.example.chess",
        "team_id": TEAM,
    }
    assert (await front.put(body)).status == 201
    assert (await read_installation(front, await front.install(body)))["environment"] is None


async def test_copies_alongside_share_identifiers_and_apps_do_not(front: Front) -> None:
    app_id, other_app = await front.app(), await front.app()
    copies = [
        await front.install(
            front.copy(app_id, alongside=alongside, bundle_id=f"com.example.{alongside or 'x'}")
        )
        for alongside in ("", "b", "abc12")
    ]
    in_other_app = await read_installation(front, await front.install(front.copy(other_app)))
    installations = [await read_installation(front, token) for token in copies]
    [(customer, device)] = {(item["customer_id"], item["device_id"]) for item in installations}
    assert in_other_app["customer_id"] != customer
    assert in_other_app["device_id"] != device


async def test_devices_of_a_customer_share_its_identifier(front: Front) -> None:
    app_id = await front.app()
    first, second = [
        await read_installation(front, await front.install(front.copy(app_id, udid=front.udid())))
        for _ in range(2)
    ]
    assert first["customer_id"] == second["customer_id"]
    assert first["device_id"] != second["device_id"]


async def test_a_uuid_belongs_to_one_installation(front: Front) -> None:
    app_id, uuid = await front.app(), uuid4()
    body = front.copy(app_id)
    await front.install(body, uuid)
    for change in ({"app_id": await front.app()}, {"udid": front.udid()}, {"alongside": "b"}):
        answer = await front.put(body | change, uuid)
        assert (answer.status, answer.faults) == (409, [("conflict", "/installation_uuid")])
    await front.install(body)  # the same copy with another uuid, as after a new version
    answer = await front.put(body | {"alongside": "b"}, uuid)
    assert answer.status == 409, "a replaced uuid stays taken"
    assert await count_rows(front) == 1


async def test_a_device_of_a_new_customer_has_new_identifiers(front: Front) -> None:
    app_id, installation_uuid = await front.app(), uuid4()
    before = await read_installation(front, await front.install(front.copy(app_id), installation_uuid))
    enrolled = await front.put(front.copy(app_id, customer="customer-2"), installation_uuid)
    assert enrolled.status == 201
    after = await read_installation(front, enrolled.body["install_token"])
    assert before["customer_id"] != after["customer_id"]
    assert before["device_id"] != after["device_id"]

    enrolled_back = await front.put(front.copy(app_id), installation_uuid)
    assert enrolled_back.status == 201
    assert await read_installation(front, enrolled_back.body["install_token"]) == before


async def test_a_device_of_a_new_customer_retires_the_former_customers_installations(front: Front) -> None:
    """In all apps, on that device only."""
    app_id, other_app, installation_uuid = await front.app(), await front.app(), uuid4()
    former = await front.install(front.copy(app_id), installation_uuid)
    former_in_other_app = await front.install(front.copy(other_app))
    on_other_device = await front.install(front.copy(app_id, udid=front.udid()))
    await front.register(former, TOKEN)
    await front.register(former_in_other_app, OTHER_TOKEN)

    current = await front.install(front.copy(app_id, customer="customer-2"), installation_uuid)
    for token, status in (
        (former, 401),
        (former_in_other_app, 401),
        (on_other_device, 200),
        (current, 200),
    ):
        assert (await front.call("GET", "installation/", token=token)).status == status
    retired = ("apns", "customer_changed")
    assert await front.tokens() == {TOKEN: retired, OTHER_TOKEN: retired}

    await front.install(front.copy(app_id), installation_uuid)
    for token in (former, current):
        assert (await front.call("GET", "installation/", token=token)).status == 401


async def test_an_installation_is_retired(front: Front) -> None:
    app_id, installation_uuid = await front.app(), uuid4()
    path = f"operator/installations/{installation_uuid}"
    assert (await front.call("DELETE", path)).status == 404
    await front.install(front.copy(app_id), installation_uuid)
    assert [(await front.call("DELETE", path)).status for _ in range(2)] == [204, 204]
    newer = await front.install(front.copy(app_id))
    assert (await front.call("DELETE", path)).status == 204
    assert (await front.call("GET", "installation/", token=newer)).status == 200, "only that uuid is retired"


@pytest.mark.parametrize(
    "text", ["x", "1b7d4f0a2c3e4d5f8a9b0c1d2e3f4a5b", "{1b7d4f0a-2c3e-4d5f-8a9b-0c1d2e3f4a5b}", "%00"]
)
async def test_a_path_without_a_uuid_is_not_found(front: Front, text: str) -> None:
    assert (await front.call("DELETE", f"{PATH}{text}/")).status == 404
    assert (await front.call("PUT", f"{PATH}{text}/", {})).status == 404


BAD_ENROLMENTS: list[tuple[dict[str, Any], str, str]] = [
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


async def test_invalid_enrolments_are_refused(front: Front) -> None:
    app_id = await front.app()
    for change, code, pointer in BAD_ENROLMENTS:
        answer = await front.put(front.copy(app_id) | change)
        status = 409 if code == "unknown_app" else 422
        assert (answer.status, answer.faults) == (status, [(code, pointer)]), change
        many = [front.copy(app_id, installation_uuid=str(uuid4()), udid=front.udid()) for _ in range(3)]
        many[1] |= change
        if pointer == "/installation_uuid":
            many[1]["installation_uuid"] = "x"
            code = "invalid_value"
        answer = await front.call("POST", PATH, {"installations": many})
        assert (answer.status, answer.faults) == (status, [(code, f"/installations/1{pointer}")])
        assert (
            await count_rows(front)
            == await count_rows(front, "customer")
            == await count_rows(front, "device")
            == 0
        )


class BulkRequest(NamedTuple):
    """A thousand enrolments, four to a customer and two to a device, and their answers."""

    copies: list[dict[str, Any]]
    enrolled: list[dict[str, Any]]


@pytest.fixture
async def bulk(front: Front) -> BulkRequest:
    app_ids = [await front.app(), await front.app()]
    copies = [
        front.copy(
            app_ids[number % 2],
            installation_uuid=str(uuid4()),
            customer=f"customer {number // 4}",
            udid=f"{number // 2:024x}",
        )
        for number in range(1000)
    ]
    answer = await front.call("POST", PATH, {"installations": copies})
    assert answer.status == 200, answer.body
    return BulkRequest(copies, answer.body["installations"])


async def test_a_thousand_installations_are_enrolled_at_once(front: Front, bulk: BulkRequest) -> None:
    uuids = [item["installation_uuid"] for item in bulk.copies]
    assert [item["installation_uuid"] for item in bulk.enrolled] == uuids
    for number in (0, 1, 999):
        installation = await read_installation(front, bulk.enrolled[number]["install_token"])
        for name in ("installation_uuid", "app_id"):
            assert installation[name] == bulk.copies[number][name]
    counts = [await count_rows(front, table) for table in ("installation", "device", "customer")]
    assert counts == [1000, 500, 250]


async def test_a_repeated_bulk_request_returns_the_install_tokens_again(
    front: Front, bulk: BulkRequest
) -> None:
    again = await front.call("POST", PATH, {"installations": bulk.copies[::-1]})
    assert again.body["installations"] == bulk.enrolled[::-1]


async def test_a_bulk_request_holds_from_one_to_a_thousand(front: Front) -> None:
    app_id = await front.app()
    too_many = [front.copy(app_id, installation_uuid=str(uuid4())) for _ in range(1001)]
    refused: tuple[object, ...] = (too_many, [], {}, None)
    for installations in refused:
        answer = await front.call("POST", PATH, {"installations": installations})
        assert (answer.status, answer.faults[0][1]) == (422, "/installations")


async def test_an_answer_names_a_hundred_faults_at_most(front: Front) -> None:
    app_id = await front.app()
    copies = [front.copy(app_id, installation_uuid="x") for _ in range(101)]
    invalid = await front.call("POST", PATH, {"installations": copies})
    assert (invalid.status, len(invalid.faults)) == (422, 100)
    copies = [front.copy("unknown", installation_uuid=str(uuid4()), udid=front.udid()) for _ in range(101)]
    refused = await front.call("POST", PATH, {"installations": copies})
    assert (refused.status, len(refused.faults)) == (409, 100)


async def test_enrolments_that_contradict_each_other_are_refused(front: Front) -> None:
    app_id, uuid = await front.app(), str(uuid4())
    first = front.copy(app_id, installation_uuid=uuid)
    for second, pointer in (
        (front.copy(app_id, installation_uuid=uuid.upper(), udid=front.udid()), "/installation_uuid"),
        (front.copy(app_id, installation_uuid=str(uuid4())), "/alongside"),
        (front.copy(app_id, installation_uuid=str(uuid4()), alongside="b", customer="other"), "/udid"),
    ):
        answer = await front.call("POST", PATH, {"installations": [first, second]})
        assert (answer.status, answer.faults) == (409, [("duplicate", f"/installations/1{pointer}")])
    assert await count_rows(front) == 0
