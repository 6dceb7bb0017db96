"""The customers of an app, as their publisher sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.front import IDENTIFIERS, Front


class Shop:
    """A publisher with an app, a manage token and a push token."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self.app_id = self.manage = self.push = ""

    async def open(self, name: str = "Ada") -> Shop:
        publisher, self.manage = await self._front.publisher(name)
        self.app_id = await self._front.app(publisher)
        answer = await self._front.call("POST", f"apps/{self.app_id}/tokens/", {}, token=self.manage)
        self.push = answer.body["token"]
        return self

    async def install(self, customer: str, **changes: Any) -> tuple[str, str, str]:
        """Enrol a copy. Returns its install token, customer id and device id."""
        body = self._front.copy(self.app_id, customer=f"secret-{customer}", **changes)
        token = await self._front.install(body)
        shown = (await self._front.call("GET", "installation/", token=token)).body
        return token, shown["customer_id"], shown["device_id"]

    async def get(self, path: str, token: str | None = None) -> Any:
        answer = await self._front.call("GET", path, token=token or self.push)
        assert answer.status == 200, answer
        return answer.body


@pytest.fixture
async def shop(front: Front) -> Shop:
    return await Shop(front).open()


async def test_a_customer_is_shown_with_devices_copies_and_kinds_of_tokens(front: Front, shop: Shop) -> None:
    udid, other = front.udid(), front.udid()
    first, anna, phone = await shop.install("anna", udid=udid)
    second, *_ = await shop.install("anna", udid=udid, alongside="b", app_version="2.0")
    _, _, tablet = await shop.install("anna", udid=other, environment=None)
    await front.register(first, "aa" * 32)
    await front.register(first, "bb" * 32, kind="voip")
    await front.register(second, "cc" * 32)
    await front.call("DELETE", "installation/device-token/", token=second)
    shown = await shop.get(f"customers/{anna}/")
    now = "2026-03-01T12:00:00Z"
    copies = {
        phone: [
            {
                **{"alongside": "", "app_version": "1.0", "environment": "production"},
                **{"device_token": "active", "kinds": ["apns", "voip"], "last_seen": now},
            },
            {
                **{"alongside": "b", "app_version": "2.0", "environment": "production"},
                **{"device_token": "retired", "kinds": [], "last_seen": now},
            },
        ],
        tablet: [
            {
                **{"alongside": "", "app_version": "1.0", "environment": None},
                **{"device_token": "none", "kinds": [], "last_seen": None},
            },
        ],
    }
    devices = [{"device_id": device, "copies": copies[device]} for device in sorted(copies)]
    assert shown == {"customer_id": anna, "devices": devices}
    assert (await shop.get("customers/"))["items"] == [shown]
    assert await shop.get(f"customers/{anna}/?app_id={shop.app_id}", shop.manage) == shown


async def test_retired_copies_are_not_shown(front: Front, shop: Shop) -> None:
    token, anna, _ = await shop.install("anna", udid=front.udid())
    installation_uuid = (await front.call("GET", "installation/", token=token)).body["installation_uuid"]
    await front.call("DELETE", f"operator/installations/{installation_uuid}/")
    assert (await shop.get("customers/"))["items"] == []
    assert await shop.get(f"customers/{anna}/") == {"customer_id": anna, "devices": []}


async def test_last_seen_is_stored_every_ten_minutes(front: Front, shop: Shop) -> None:
    token, anna, _ = await shop.install("anna", udid=front.udid())

    async def read_last_seen() -> str:
        [device] = (await shop.get(f"customers/{anna}/"))["devices"]
        return str(device["copies"][0]["last_seen"])

    moments = []
    for _ in range(4):
        await front.register(token, "aa" * 32)
        moments.append(await read_last_seen())
        front.clock.advance(6 * 60)
    assert [moment[14:16] for moment in moments] == ["00", "00", "12", "12"], moments


async def test_customers_are_listed_in_pages_whose_cursors_belong_to_the_app(
    front: Front, shop: Shop
) -> None:
    for number in range(5):
        await shop.install(f"c{number}", udid=front.udid())
    pages, path = [], "customers/?limit=2"
    while True:
        page = await shop.get(path)
        pages.append([item["customer_id"] for item in page["items"]])
        if page["next"] is None:
            break
        assert IDENTIFIERS.is_customer(shop.app_id, page["next"])
        path = f"customers/?limit=2&cursor={page['next']}"
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({customer for page in pages for customer in page}) == 5
    for cursor in ("", "1", "d_" + "A" * 44, "c_%00"):
        assert (await front.call("GET", f"customers/?cursor={cursor}", token=shop.push)).status == 400


async def test_customers_are_searched_by_alias(front: Front, shop: Shop) -> None:
    customers = [(await shop.install(f"c{n}", udid=front.udid()))[1] for n in range(3)]
    alias = {"alias": "secret-anna@example.com"}
    for customer in customers[:2]:
        await front.call("POST", f"customers/{customer}/aliases/", alias, token=shop.push)
    matches = await front.call(
        "POST", "customers/search/", {"alias": " SECRET-ANNA@example.com"}, token=shop.push
    )
    assert [item["customer_id"] for item in matches.body["items"]] == sorted(customers[:2])
    assert matches.body["items"][0]["devices"]
    page = await front.call("POST", "customers/search/?limit=1", alias, token=shop.push)
    rest = await front.call(
        "POST", f"customers/search/?limit=1&cursor={page.body['next']}", alias, token=shop.push
    )
    assert [item["customer_id"] for item in rest.body["items"]] == [max(customers[:2])]
    other = await front.call(
        "POST", "customers/search/", {"alias": "secret-bert@example.com"}, token=shop.push
    )
    assert other.body == {"items": [], "next": None}
    assert (await front.call("GET", "customers/search/", token=shop.push)).status == 405


async def test_with_a_manage_token_the_query_names_the_app(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    bob = await Shop(front).open("Bob")
    for path in ("customers/", f"customers/{anna}/", f"customers/{anna}/aliases/"):
        assert (await front.call("GET", path, token=shop.manage)).status == 400
        assert (await front.call("GET", f"{path}?app_id={shop.app_id}", token=shop.manage)).status == 200
        assert (await front.call("GET", f"{path}?app_id={shop.app_id}", token=shop.push)).status == 200
        for token in (bob.manage, bob.push):
            assert (await front.call("GET", f"{path}?app_id={shop.app_id}", token=token)).status == 404


async def test_an_unknown_customer_is_not_found(front: Front, shop: Shop) -> None:
    _, anna, _ = await shop.install("anna", udid=front.udid())
    bob = await Shop(front).open("Bob")
    assert (await front.call("GET", f"customers/{anna}/", token=bob.push)).status == 404
    assert (await front.call("GET", "customers/c_x/", token=shop.push)).status == 404
    unknown = IDENTIFIERS.mint_customer(shop.app_id, b"u" * 16)
    assert (await front.call("GET", f"customers/{unknown}/", token=shop.push)).status == 404
