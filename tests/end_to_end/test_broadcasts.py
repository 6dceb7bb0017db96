"""`"destinations": "all"`: a push to every customer of the app."""

from __future__ import annotations

import pytest

from relay.settings import DispatchSettings

from .store import Store


@pytest.fixture
def dispatch() -> DispatchSettings:
    """Batches of one target, so that a push has several."""
    return DispatchSettings(retry_first=0.2, retry_longest=1.0, poll=0.1, batch_size=1)


async def test_all_reaches_every_copy_of_every_customer_once_and_no_other_app(store: Store) -> None:
    app, other_app = await store.app(), await store.app()
    copies = [
        await store.copy(app, "anna", "a1"),
        await store.copy(app, "anna", "a1", "two", team_id="TEAM000002"),
        await store.copy(app, "bert", "b1", environment="sandbox"),
    ]
    silent = await store.copy(app, "carl", "c1", register=False)
    elsewhere = await store.copy(other_app, "anna", "a1")
    status, answer = await store.send(app, "all")
    assert (status, answer["targets"], answer["skipped"], answer["warnings"]) == (202, None, None, [])
    page = await store.done(app, answer["push_id"])
    assert (page["targets"], page["counts"]["delivered"]) == (3, 3)
    assert await store.received(*copies, silent, elsewhere) == [1, 1, 1, 0, 0]


async def test_a_push_to_all_of_an_app_without_customers_is_done_at_once(store: Store) -> None:
    page = await store.push(await store.app(), "all")
    assert (page["targets"], page["state"]) == (0, "done")


async def test_a_debug_push_to_all_reaches_listed_devices_only(store: Store) -> None:
    app = await store.app()
    mine, others = await store.copy(app, "anna", "a1"), await store.copy(app, "bert", "b1")
    listed = {"udid": "a1".ljust(40, "0"), "label": "mine", "failure_domain": "ok"}
    await store.must("POST", "/v1.0/test-devices/", app.publisher.manage_token, listed)
    page = await store.push(app, "all", debug=True)
    assert (page["targets"], page["counts"]["skipped"]) == (1, 1)
    assert await store.received(mine, others) == [1, 0]


async def test_a_token_without_the_broadcast_right_cannot_push_to_all(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    token = await store.push_token(app.publisher, app.app_id)
    status, answer = await store.send(app, "all", token=token)
    assert (status, answer["errors"][0]["pointer"]) == (403, "/destinations")
    assert "broadcast" in answer["detail"]
    status, answer = await store.send(app, {copy.customer: []}, token=token)
    assert (status, answer["targets"]) == (202, 1)
    await store.done(app, answer["push_id"])
    assert await store.received(copy) == [1]


async def test_other_words_than_all_are_refused(store: Store) -> None:
    app = await store.app()
    for destinations in ("everyone", "ALL", ["all"], "", {"all": []}):
        status, answer = await store.send(app, destinations)
        assert status == 422, destinations
        assert answer["errors"][0]["pointer"].startswith("/destinations")
