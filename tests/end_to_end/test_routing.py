"""Which copies a push reaches: the product's main promise, seen from Apple's side."""

from __future__ import annotations

from .store import ALERT, Store


async def test_a_customer_means_every_copy_on_every_device_each_with_its_own_way(store: Store) -> None:
    app = await store.app()
    copies = [
        await store.copy(app, "anna", "a1"),
        await store.copy(app, "anna", "a1", "two", team_id="TEAM000002"),
        await store.copy(app, "anna", "a2", environment="sandbox"),
        await store.copy(app, "anna", "a3", environment=None),
    ]
    other = await store.copy(app, "bert", "b1")
    page = await store.push(app, {copies[0].customer: []})
    assert page["targets"] == 4
    assert page["counts"]["delivered"] == 4
    assert await store.received(*copies, other) == [1, 1, 1, 1, 0]
    devices = {device["device_token"]: device for device in store.apns.devices()}
    for copy in copies:
        [received] = await store.apns.notifications(copy.device_token)
        assert received["headers"]["apns-topic"] == devices[copy.device_token]["bundle_id"]
        assert received["payload"] == ALERT


async def test_a_device_means_every_copy_on_it_and_no_other_device_of_the_customer(store: Store) -> None:
    app = await store.app()
    first = await store.copy(app, "anna", "a1")
    alongside = await store.copy(app, "anna", "a1", "two", team_id="TEAM000002")
    second = await store.copy(app, "anna", "a2")
    assert first.device == alongside.device != second.device
    page = await store.push(app, {first.customer: [first.device]})
    assert page["targets"] == 2
    assert await store.received(first, alongside, second) == [1, 1, 0]
    await store.push(app, {first.customer: [first.device, second.device]})
    assert await store.received(first, alongside, second) == [2, 2, 1]


async def test_several_customers_and_devices_in_one_push(store: Store) -> None:
    app = await store.app()
    anna1, anna2 = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    bert1, bert2 = await store.copy(app, "bert", "b1"), await store.copy(app, "bert", "b2")
    page = await store.push(app, {anna1.customer: [], bert1.customer: [bert2.device]})
    assert page["targets"] == 3
    assert await store.received(anna1, anna2, bert1, bert2) == [1, 1, 0, 1]


async def test_each_installation_at_most_once_however_often_it_is_named(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    page = await store.push(app, {copy.customer: [copy.device, copy.device]})
    assert page["targets"] == 1
    assert await store.received(copy) == [1]


async def test_a_device_token_that_moved_to_another_copy_gets_one_push(store: Store) -> None:
    app = await store.app()
    old = await store.copy(app, "anna", "a1")
    new = await store.copy(app, "anna", "a1", "two", register=False)
    body = {"device_token": old.device_token}
    await store.must("PUT", "/v1.0/installation/device-token/", new.install_token, body)
    page = await store.push(app, {old.customer: []})
    assert page["targets"] == 1


async def test_the_same_people_in_two_apps_of_one_publisher_are_strangers(store: Store) -> None:
    publisher = await store.publisher()
    one, two = await store.app(publisher), await store.app(publisher)
    here, there = await store.copy(one, "anna", "a1"), await store.copy(two, "anna", "a1")
    assert {here.customer, here.device}.isdisjoint({there.customer, there.device})
    await store.push(one, {here.customer: []})
    assert await store.received(here, there) == [1, 0]
    status, problem = await store.send(one, {there.customer: []})
    assert status == 422
    assert problem["errors"][0]["code"] == "invalid_customer"


async def test_a_device_of_another_customer_is_refused_and_nothing_is_sent(store: Store) -> None:
    app = await store.app()
    anna, bert = await store.copy(app, "anna", "a1"), await store.copy(app, "bert", "b1")
    status, problem = await store.send(app, {anna.customer: [anna.device, bert.device], bert.customer: []})
    assert status == 422
    assert [error["pointer"] for error in problem["errors"]] == [f"/destinations/{anna.customer}/1"]
    await store.push(app, {anna.customer: []})
    assert await store.received(anna, bert) == [1, 0], "of the refused push nothing went out"


async def test_a_copy_without_device_token_is_a_warning(store: Store) -> None:
    app = await store.app()
    silent = await store.copy(app, "anna", "a1", register=False)
    loud = await store.copy(app, "bert", "b1")
    status, answer = await store.send(app, {silent.customer: [], loud.customer: []})
    assert status == 202
    assert answer["targets"] == 1
    assert [warning["pointer"] for warning in answer["warnings"]] == [f"/destinations/{silent.customer}"]
    page = await store.push(app, {silent.customer: []})
    assert (page["state"], page["targets"]) == ("done", 0)


async def test_a_retired_installation_gets_nothing_and_its_siblings_do(store: Store) -> None:
    app = await store.app()
    gone, stays = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a1", "two")
    await store.must("DELETE", f"/v1.0/operator/installations/{gone.uuid}/", store.operator_token)
    page = await store.push(app, {gone.customer: []})
    assert page["targets"] == 1
    assert await store.received(gone, stays) == [0, 1]


async def test_a_device_sold_on_gets_nothing_meant_for_its_former_owner(store: Store) -> None:
    app = await store.app()
    before = await store.copy(app, "anna", "a1")
    after = await store.copy(app, "bert", "a1")
    status, answer = await store.send(app, {before.customer: [before.device]})
    assert status == 202
    assert answer["warnings"]
    await store.push(app, {after.customer: []})
    assert await store.received(before, after) == [0, 1]


async def test_a_push_type_reaches_its_own_kind_of_token_only(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    status, answer = await store.send(app, {copy.customer: []}, push_type="voip", payload={"call": 1})
    assert status == 202
    assert answer["targets"] == 0
    assert answer["warnings"]


async def test_the_fields_of_a_request_become_headers(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    await store.push(app, {copy.customer: []}, priority=5, expiration=4_000_000_000, collapse_id="news é")
    await store.push(app, {copy.customer: []}, {"aps": {"content-available": 1}}, ttl=0)
    first, second = (row["headers"] for row in await store.apns.notifications(copy.device_token))
    assert first["apns-priority"] == "5"
    assert first["apns-expiration"] == "4000000000"
    assert first["apns-collapse-id"] == "news é"
    assert first["apns-push-type"] == "alert"
    assert (second["apns-push-type"], second["apns-priority"], second["apns-expiration"]) == (
        "background",
        "5",
        "0",
    )
    assert first["apns-id"] != second["apns-id"]
