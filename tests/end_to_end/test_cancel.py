"""`DELETE /v1.0/pushes/{push_id}/`: unsent targets are not sent, and the counts of the push add up."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from apns_standin import ApnsStandIn
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.node.roles import Roles
from relay.settings import DispatchSettings, Settings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from tests.eventually import eventually

from .store import App, Store


@pytest.fixture
def dispatch() -> DispatchSettings:
    """Retries are due long after the test."""
    return DispatchSettings(retry_first=3600.0, retry_longest=3600.0, poll=0.1)


async def cancel(store: Store, app: App, push_id: str, token: str | None = None) -> dict[str, Any]:
    page: dict[str, Any] = await store.must("DELETE", f"/v1.0/pushes/{push_id}/", token or app.push_token)
    return page


def counts(page: dict[str, Any]) -> dict[str, int]:
    return {outcome: count for outcome, count in page["counts"].items() if count}


async def waits(relay: Relay, push_id: str, condition: str) -> None:
    """Wait until the push has a batch for which the SQL `condition` holds."""
    statement = f"SELECT count(*) FROM batch WHERE push_id = $1::text::uuid AND {condition}"
    async with relay.database.connection() as connection:
        await eventually(lambda: connection.fetchval(statement, push_id))


async def test_a_cancelled_push_is_not_retried(store: Store, relay: Relay) -> None:
    app = await store.app()
    good, bad = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    store.apns.answer(bad.device_token, 503, "ServiceUnavailable")
    _, sent = await store.send(app, {good.customer: []})
    await waits(relay, sent["push_id"], "attempt = 1")
    page = await cancel(store, app, sent["push_id"])
    assert (page["state"], page["targets"], counts(page)) == (
        "cancelled",
        2,
        {"delivered": 1, "cancelled": 1},
    )
    assert page["reasons"] == {"Cancelled": 1}
    assert page["cancelled_at"] is not None
    assert await cancel(store, app, sent["push_id"]) == page, "a second cancellation changes nothing"
    assert await store.page(app, sent["push_id"]) == page
    deliveries = await store.must("GET", f"/v1.0/pushes/{sent['push_id']}/deliveries/", app.push_token)
    [item] = [item for item in deliveries["items"] if item["outcome"] == "cancelled"]
    assert (item["attempts"], item["status"], item["reason"]) == (1, None, "Cancelled")
    assert await store.received(good, bad) == [1, 0]


async def test_a_cancelled_push_is_not_sent_when_its_credential_is_resumed(
    store: Store, relay: Relay
) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    store.apns.answer(copy.device_token, 403, "InvalidProviderToken", times=1)
    _, held = await store.send(app, {copy.customer: []})
    await waits(relay, held["push_id"], "held_by IS NOT NULL")
    page = await cancel(store, app, held["push_id"], app.publisher.manage_token)
    assert (page["state"], counts(page)) == ("cancelled", {"cancelled": 1})
    credentials = "/v1.0/operator/credentials/"

    async def items_with_a_suspended_credential() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await store.must("GET", credentials, store.operator_token))["items"]
        assert "suspended" in [item["state"] for item in items]
        return items

    for item in await eventually(
        items_with_a_suspended_credential
    ):  # the suspension is stored after the batch
        resume = f"/v1.0/operator/credentials/{item['id']}/resume/"
        await store.call("POST", resume, store.operator_token)
    assert counts(await store.push(app, {copy.customer: []})) == {"delivered": 1}
    assert await store.received(copy) == [1]


async def test_requests_under_way_at_cancellation_keep_their_outcome(store: Store) -> None:
    app = await store.app()
    good, bad = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    store.apns.answer(good.device_token, delay=5.0, times=1)
    store.apns.answer(bad.device_token, 503, "ServiceUnavailable", delay=5.0)
    _, sent = await store.send(app, {good.customer: []})
    page = await cancel(store, app, sent["push_id"])
    assert (page["state"], counts(page)) == ("cancelled", {"pending": 2})
    page = await store.until(app, sent["push_id"], lambda page: not page["counts"]["pending"])
    assert (page["state"], counts(page)) == ("cancelled", {"delivered": 1, "cancelled": 1})


async def test_a_done_push_stays_done(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    done = await store.push(app, {copy.customer: []})
    assert await cancel(store, app, done["push_id"]) == done
    assert (done["state"], done["cancelled_at"]) == ("done", None)


async def test_a_cancellation_is_audited_with_its_token(store: Store, relay: Relay) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    store.apns.answer(copy.device_token, 503, "ServiceUnavailable")
    _, sent = await store.send(app, {copy.customer: []})
    await waits(relay, sent["push_id"], "attempt = 1")
    for _ in range(2):
        await cancel(store, app, sent["push_id"])
    log = await store.must("GET", "/v1.0/audit/", app.publisher.manage_token)
    tokens = await store.must("GET", f"/v1.0/apps/{app.app_id}/tokens/", app.publisher.manage_token)
    [entry] = [entry for entry in log["items"] if entry["action"] == "push.cancelled"]
    assert (entry["subject"], entry["detail"]) == (sent["push_id"], {"app_id": app.app_id})
    assert entry["token_id"] == tokens["items"][0]["id"]


async def test_a_push_to_all_can_be_cancelled_before_a_node_has_begun_it(
    settings: Settings, apns: ApnsStandIn, database: Database
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    async with AsyncExitStack() as stack:
        door = await Relay.start(settings, stack, roles=Roles(dispatch=False))
        store = Store(await stack.enter_async_context(aiohttp.ClientSession(door.url)), apns, token)
        app = await store.app()
        copies = [await store.copy(app, f"c{n}", f"a{n}") for n in range(3)]
        _, to_all = await store.send(app, "all")
        _, named = await store.send(app, {copy.customer: [] for copy in copies})
        assert (await store.page(app, to_all["push_id"]))["counting"] is True
        page = await cancel(store, app, to_all["push_id"])
        assert (page["state"], page["targets"], page["counting"]) == ("cancelled", 0, False)
        page = await cancel(store, app, named["push_id"])
        assert (page["state"], counts(page)) == ("cancelled", {"cancelled": 3})
        await Relay.start(settings, stack, roles=Roles(api=False))
        assert counts(await store.push(app, "all")) == {"delivered": 3}
        assert await store.received(*copies) == [1, 1, 1]
