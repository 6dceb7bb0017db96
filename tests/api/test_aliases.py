"""Aliases: attached by the publisher, or by copies where the publisher lets them; kept as digests only."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.api.front import IDENTIFIERS, Front
from tests.api.test_customers import Shop

ANNA = {"alias": "secret-anna@example.com"}


@pytest.fixture
async def shop(front: Front) -> Shop:
    return await Shop(front).open()


async def test_aliases_come_and_go(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    path = f"customers/{anna}/aliases/"
    made = await front.call("POST", path, ANNA, token=shop.push)
    assert (made.status, set(made.body)) == (201, {"id", "created_at"})
    front.clock.advance(1)
    again = await front.call("POST", path, {"alias": " Secret-Anna@EXAMPLE.com "}, token=shop.push)
    assert (again.status, again.body) == (200, made.body)
    managed = f"{path}?app_id={shop.app_id}"
    other = await front.call("POST", managed, {"alias": "secret-a@example.com"}, token=shop.manage)
    assert (await shop.get(path))["items"] == [made.body, other.body]
    one = f"{path}{made.body['id']}/"
    assert (await front.call("DELETE", one, token=shop.push)).status == 204
    assert (await front.call("DELETE", one, token=shop.push)).status == 404
    assert (await shop.get(managed, shop.manage))["items"] == [other.body]


async def test_who_did_it_is_in_the_log_without_the_address(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    path = f"customers/{anna}/aliases/"
    made = await front.call("POST", path, ANNA, token=shop.push)
    await front.call("POST", path, ANNA, token=shop.push)
    await front.call("DELETE", f"{path}{made.body['id']}/", token=shop.push)
    log = await front.call("GET", "audit/", token=shop.manage)
    told = [(item["action"], item["subject"], item["detail"]) for item in log.body["items"][:3]]
    assert told[:2] == [
        (f"alias.{what}", made.body["id"], {"app_id": shop.app_id}) for what in ("removed", "attached")
    ]
    assert not told[2][0].startswith("alias.")
    assert "example.com" not in str(log.body)


async def test_nothing_in_the_database_says_which_address_it_is(front: Front, shop: Shop) -> None:
    other = await Shop(front).open("Bob")
    stored = set()
    for one in (shop, other):
        _, customer, _ = await one.install("anna", udid=front.udid())
        await front.call("POST", f"customers/{customer}/aliases/", ANNA, token=one.push)
    async with front.database.connection() as connection:
        stored = {row["digest"] for row in await connection.fetch("SELECT digest FROM alias")}
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname !~ '^pg_'"
        )
        everything = ""
        for (table,) in tables:
            if not table.startswith("sql_"):
                everything += str(await connection.fetch(f"SELECT t::text FROM {table} t"))
    assert len(stored) == 2, "two apps can't be joined by it"
    assert "example.com" not in everything.lower()


async def test_a_customer_has_twenty_at_most_and_so_has_an_address(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    path = f"customers/{anna}/aliases/"
    answers = await asyncio.gather(
        *(front.call("POST", path, {"alias": f"secret-{n}@example.com"}, token=shop.push) for n in range(25))
    )
    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 5
    refused = next(answer for answer in answers if answer.status == 409)
    assert refused.faults == [("too_many", "/alias")]
    for number in range(20):
        _, customer, _ = await shop.install(f"c{number}", udid=front.udid())
        answer = await front.call("POST", f"customers/{customer}/aliases/", ANNA, token=shop.push)
        assert answer.status == 201
    _, bert, _ = await shop.install("bert", udid=front.udid())
    answer = await front.call("POST", f"customers/{bert}/aliases/", ANNA, token=shop.push)
    assert (answer.status, answer.faults) == (409, [("too_many", "/alias")])
    kept = next(n for n, answer in enumerate(answers) if answer.status == 201)
    again = await front.call("POST", path, {"alias": f"secret-{kept}@example.com"}, token=shop.push)
    assert again.status == 200


BAD: list[tuple[Any, str]] = [
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


async def test_what_is_no_address_is_refused_and_not_repeated(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    for path in (f"customers/{anna}/aliases/", "customers/search/"):
        for body, pointer in BAD:
            answer = await front.call("POST", path, body, token=shop.push)
            assert (answer.status, [place for _, place in answer.faults]) == (422, [pointer])
            assert "secret" not in str(answer.body)
    assert (await shop.get(f"customers/{anna}/aliases/"))["items"] == []


async def test_only_the_apps_own_customers(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    other = await Shop(front).open("Bob")
    made = await front.call("POST", f"customers/{anna}/aliases/", ANNA, token=shop.push)
    _, bert, _ = await other.install("bert", udid=front.udid())
    unknown = IDENTIFIERS.mint_customer(other.app_id, b"u" * 16)
    for customer in (anna, unknown, "c_x", "x"):
        for method in ("POST", "GET"):
            body = ANNA if method == "POST" else None
            answer = await front.call(method, f"customers/{customer}/aliases/", body, token=other.push)
            assert answer.status == 404, customer
        path = f"customers/{customer}/aliases/{made.body['id']}/"
        assert (await front.call("DELETE", path, token=other.push)).status == 404
    path = f"customers/{bert}/aliases/{made.body['id']}/"
    assert (await front.call("DELETE", path, token=other.push)).status == 404
    assert len((await shop.get(f"customers/{anna}/aliases/"))["items"]) == 1


async def test_copies_may_not_unless_the_publisher_lets_them(front: Front, shop: Shop) -> None:
    token, anna, _ = await shop.install("anna", udid=front.udid())
    path = "installation/aliases/"
    for method, where, body in (
        ("POST", path, ANNA),
        ("GET", path, None),
        ("DELETE", f"{path}{uuid4()}/", None),
    ):
        answer = await front.call(method, where, body, token=token)
        assert (answer.status, "installations_attach_aliases" in answer.body["detail"]) == (403, True)
    may = {"installations_attach_aliases": True}
    await front.call("PATCH", f"apps/{shop.app_id}/", may, token=shop.manage)
    made = await front.call("POST", path, ANNA, token=token)
    assert made.status == 201
    assert (await front.call("POST", path, ANNA, token=token)).status == 200
    assert (await front.call("GET", path, token=token)).body == {"items": [made.body]}
    assert await shop.get(f"customers/{anna}/aliases/") == {"items": [made.body]}
    other, *_ = await shop.install("bert", udid=front.udid())
    assert (await front.call("DELETE", f"{path}{made.body['id']}/", token=other)).status == 404
    assert (await front.call("DELETE", f"{path}{made.body['id']}/", token=token)).status == 204
    assert (await front.call("GET", path, token=token)).body == {"items": []}
