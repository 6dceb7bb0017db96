"""Recipients by e-mail address."""

from __future__ import annotations

import asyncio
from typing import Any

from .store import Copy, Store


async def attach(store: Store, copy: Copy, *addresses: str) -> None:
    for address in addresses:
        path = f"/v1.0/customers/{copy.customer}/aliases/"
        await store.must("POST", path, copy.app.push_token, {"alias": address})


def faults(answer: Any, kind: str = "errors") -> list[tuple[str, str]]:
    return [(fault["code"], fault["pointer"]) for fault in answer[kind]]


async def test_an_address_reaches_every_copy_of_every_customer_who_has_it_once(store: Store) -> None:
    app = await store.app()
    anna = [await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")]
    bert, carl = await store.copy(app, "bert", "b1"), await store.copy(app, "carl", "c1")
    await attach(store, anna[0], "Test@Example.com", "anna@example.com")
    await attach(store, bert, "test@example.com")
    page = await store.push(app, {"test@example.com": [], anna[0].customer: []})
    assert page["counts"]["delivered"] == 3
    page = await store.push(app, [" TEST@example.com", carl.customer, "anna@example.com"])
    assert page["counts"]["delivered"] == 4
    assert await store.received(*anna, bert, carl) == [2, 2, 2, 1]


async def test_an_address_belongs_to_one_app(store: Store) -> None:
    app, other = await store.app(), await store.app()
    here, there = await store.copy(app, "anna", "a1"), await store.copy(other, "anna", "a1")
    await attach(store, there, "test@example.com")
    status, answer = await store.send(app, ["test@example.com"])
    assert (status, faults(answer)) == (422, [("no_recipients", "/destinations")])
    await attach(store, here, "test@example.com")
    assert (await store.push(app, ["test@example.com"]))["counts"]["delivered"] == 1
    assert await store.received(here, there) == [1, 0]


async def test_an_address_without_devices_is_a_warning_and_no_recipient_at_all_an_error(store: Store) -> None:
    app = await store.app()
    copy, silent = await store.copy(app, "anna", "a1"), await store.copy(app, "bert", "b1", register=False)
    await attach(store, copy, "anna@example.com")
    await attach(store, silent, "bert@example.com")
    unreachable = ["bert@example.com", "unknown@example.com"]
    status, answer = await store.send(app, ["anna@example.com", *unreachable])
    assert (status, answer["targets"]) == (202, 1)
    assert faults(answer, "warnings") == [("unreachable", f"/destinations/{n}") for n in (1, 2)]
    status, answer = await store.send(app, {name: [] for name in ("anna@example.com", *unreachable)})
    assert faults(answer, "warnings") == [("unreachable", f"/destinations/{name}") for name in unreachable]
    by_name: dict[str, list[str]] = {name: [] for name in unreachable}
    for destinations in (unreachable, by_name):
        status, answer = await store.send(app, destinations)
        assert (status, faults(answer)) == (422, [("no_recipients", "/destinations")])
    status, answer = await store.send(app, {silent.customer: [], "unknown@example.com": []})
    assert (status, answer["targets"], len(answer["warnings"])) == (202, 0, 2), "a customer is a warning only"
    assert await store.received(copy) == [2]


async def test_a_push_without_recipients_is_not_stored_and_the_others_of_its_group_are(
    store: Store,
) -> None:
    """Pushes are stored in groups: a refused push must not affect the others of its group."""
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    answers = await asyncio.gather(
        *(store.send(app, [copy.customer] if n % 2 else [f"unknown{n}@example.com"]) for n in range(20))
    )
    assert [status for status, _ in answers] == [422, 202] * 10
    for status, answer in answers:
        if status == 202:
            assert (await store.done(app, answer["push_id"]))["counts"]["delivered"] == 1
    assert await store.received(copy) == [10]


async def test_devices_off_the_list_count_as_recipients(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    await attach(store, copy, "anna@example.com")
    status, answer = await store.send(app, ["anna@example.com"], debug=True)
    assert (status, answer["targets"], answer["skipped"], answer["warnings"]) == (202, 0, 1, [])


async def test_a_removed_alias_has_no_recipients(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    path = f"/v1.0/customers/{copy.customer}/aliases/"
    alias = await store.must("POST", path, app.push_token, {"alias": "anna@example.com"})
    await store.call("DELETE", f"{path}{alias['id']}/", app.push_token)
    assert (await store.send(app, ["anna@example.com"]))[0] == 422
