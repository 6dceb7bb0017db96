"""Aliases of customers, attached by the publisher, or by copies if it allows that. Only digests are stored."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.api.front import IDENTIFIERS, Front
from tests.api.test_customers import Shop

ANNA = {"alias": "secret-anna@example.com"}
COPY_PATH = "installation/aliases/"


@pytest.fixture
async def shop(front: Front) -> Shop:
    return await Shop(front).open()


async def test_aliases_are_attached_listed_and_removed(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    path = f"customers/{anna}/aliases/"
    attached = await front.call("POST", path, ANNA, token=shop.push)
    assert (attached.status, set(attached.body)) == (201, {"id", "created_at"})
    front.clock.advance(1)
    again = await front.call("POST", path, {"alias": " Secret-Anna@EXAMPLE.com "}, token=shop.push)
    assert (again.status, again.body) == (200, attached.body)
    managed = f"{path}?app_id={shop.app_id}"
    other = await front.call("POST", managed, {"alias": "secret-a@example.com"}, token=shop.manage)
    assert (await shop.get(path))["items"] == [attached.body, other.body]
    alias_path = f"{path}{attached.body['id']}/"
    assert (await front.call("DELETE", alias_path, token=shop.push)).status == 204
    assert (await front.call("DELETE", alias_path, token=shop.push)).status == 404
    assert (await shop.get(managed, shop.manage))["items"] == [other.body]


async def test_the_audit_log_holds_the_actor_and_not_the_address(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    path = f"customers/{anna}/aliases/"
    attached = await front.call("POST", path, ANNA, token=shop.push)
    await front.call("POST", path, ANNA, token=shop.push)
    await front.call("DELETE", f"{path}{attached.body['id']}/", token=shop.push)
    log = await front.call("GET", "audit/", token=shop.manage)
    entries = [(item["action"], item["subject"], item["detail"]) for item in log.body["items"][:3]]
    assert entries[:2] == [
        (f"alias.{action}", attached.body["id"], {"app_id": shop.app_id})
        for action in ("removed", "attached")
    ]
    assert not entries[2][0].startswith("alias.")
    assert "example.com" not in str(log.body)


async def test_the_database_holds_no_address(front: Front, shop: Shop) -> None:
    other = await Shop(front).open("Bob")
    for each_shop in (shop, other):
        _, customer, _ = await each_shop.install("anna", udid=front.udid())
        await front.call("POST", f"customers/{customer}/aliases/", ANNA, token=each_shop.push)
    async with front.database.connection() as connection:
        digests = {row["digest"] for row in await connection.fetch("SELECT digest FROM alias")}
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname !~ '^pg_'"
        )
        everything = ""
        for (table,) in tables:
            if not table.startswith("sql_"):
                everything += str(await connection.fetch(f"SELECT t::text FROM {table} t"))
    assert len(digests) == 2, "digests of two apps cannot be joined"
    assert "example.com" not in everything.lower()


async def test_a_customer_has_at_most_twenty_aliases(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    path = f"customers/{anna}/aliases/"
    addresses = [f"secret-{number}@example.com" for number in range(25)]
    answers = await asyncio.gather(
        *(front.call("POST", path, {"alias": address}, token=shop.push) for address in addresses)
    )
    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 5
    refused = next(answer for answer in answers if answer.status == 409)
    assert refused.faults == [("too_many", "/alias")]
    attached = addresses[next(n for n, answer in enumerate(answers) if answer.status == 201)]
    again = await front.call("POST", path, {"alias": attached}, token=shop.push)
    assert again.status == 200


async def test_an_alias_has_at_most_twenty_customers(front: Front, shop: Shop) -> None:
    answers = []
    for number in range(21):
        _, customer, _ = await shop.install(f"c{number}", udid=front.udid())
        answers.append(await front.call("POST", f"customers/{customer}/aliases/", ANNA, token=shop.push))
    assert [answer.status for answer in answers] == [201] * 20 + [409]
    assert answers[-1].faults == [("too_many", "/alias")]


BAD_ALIASES: list[tuple[Any, str]] = [
    ({}, "/alias"),
    ({"alias": None}, "/alias"),
    ({"alias": ["secret-anna@example.com"]}, "/alias"),
    ({"alias": ""}, "/alias"),
    ({"alias": "secret-anna"}, "/alias"),
    ({"alias": "secret-anna@b@c"}, "/alias"),
    ({"alias": "secret-anna@" + "x" * 260}, "/alias"),
    ({"alias": "secret-anna\n@b"}, "/alias"),
    (ANNA | {"customer": "x"}, "/customer"),
    ([], ""),
]


async def test_invalid_addresses_are_refused_and_not_repeated(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    for path in (f"customers/{anna}/aliases/", "customers/search/"):
        for body, pointer in BAD_ALIASES:
            answer = await front.call("POST", path, body, token=shop.push)
            assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer])
            assert "secret" not in str(answer.body)
    assert (await shop.get(f"customers/{anna}/aliases/"))["items"] == []


async def test_customers_of_another_app_are_not_found(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    other = await Shop(front).open("Bob")
    attached = await front.call("POST", f"customers/{anna}/aliases/", ANNA, token=shop.push)
    _, bert, _ = await other.install("bert", udid=front.udid())
    unknown = IDENTIFIERS.mint_customer(other.app_id, b"u" * 16)
    for customer in (anna, unknown, "c_x", "x"):
        for method in ("POST", "GET"):
            body = ANNA if method == "POST" else None
            answer = await front.call(method, f"customers/{customer}/aliases/", body, token=other.push)
            assert answer.status == 404, customer
        path = f"customers/{customer}/aliases/{attached.body['id']}/"
        assert (await front.call("DELETE", path, token=other.push)).status == 404
    path = f"customers/{bert}/aliases/{attached.body['id']}/"
    assert (await front.call("DELETE", path, token=other.push)).status == 404
    assert len((await shop.get(f"customers/{anna}/aliases/"))["items"]) == 1


async def test_copies_may_not_change_aliases_unless_the_publisher_allows_it(front: Front, shop: Shop) -> None:
    token, *_ = await shop.install("anna", udid=front.udid())
    for method, path, body in (
        ("POST", COPY_PATH, ANNA),
        ("GET", COPY_PATH, None),
        ("DELETE", f"{COPY_PATH}{uuid4()}/", None),
    ):
        answer = await front.call(method, path, body, token=token)
        assert (answer.status, "installations_attach_aliases" in answer.body["detail"]) == (403, True)


async def test_copies_change_the_aliases_of_their_own_customer(front: Front, shop: Shop) -> None:
    token, anna, _ = await shop.install("anna", udid=front.udid())
    other_token, *_ = await shop.install("bert", udid=front.udid())
    allowed = {"installations_attach_aliases": True}
    await front.call("PATCH", f"apps/{shop.app_id}/", allowed, token=shop.manage)
    attached = await front.call("POST", COPY_PATH, ANNA, token=token)
    assert attached.status == 201
    assert (await front.call("POST", COPY_PATH, ANNA, token=token)).status == 200
    assert (await front.call("GET", COPY_PATH, token=token)).body == {"items": [attached.body]}
    assert await shop.get(f"customers/{anna}/aliases/") == {"items": [attached.body]}
    alias_path = f"{COPY_PATH}{attached.body['id']}/"
    assert (await front.call("DELETE", alias_path, token=other_token)).status == 404
    assert (await front.call("DELETE", alias_path, token=token)).status == 204
    assert (await front.call("GET", COPY_PATH, token=token)).body == {"items": []}
