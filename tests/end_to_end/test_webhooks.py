"""Webhooks of a whole relay: messages to a publisher's server, and `push-relay webhook-test`."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest
from typer.testing import CliRunner

from apns_standin import ApnsStandIn
from relay.cli.main import app as commands
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.node.roles import Roles
from relay.settings import Settings, WebhooksSettings
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.database import Database
from tests.eventually import eventually, nothing_happens_for
from tests.receiver import Receiver

from .log import Log
from .store import App, Copy, Store

EVENTS = ["push.completed", "delivery.failed", "device.unregistered"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings that allow private addresses and retry soon."""
    return msgspec.structs.replace(
        settings, webhooks=WebhooksSettings(allow_private=True, retry_first=0.1, retry_longest=0.5)
    )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


async def listen(store: Store, receiver: Receiver, app: App, path: str, events: list[str] = EVENTS) -> str:
    """Create a webhook of that app and return its id."""
    created = await store.must(
        "POST",
        f"/v1.0/apps/{app.app_id}/webhooks/",
        app.publisher.manage_token,
        {"url": receiver.url(path), "events": events},
    )
    receiver.secrets[path] = created["secret"]
    return str(created["id"])


def named(copy: Copy, alongside: str = "") -> dict[str, str]:
    return {"customer": copy.customer, "device": copy.device, "alongside": alongside}


async def test_a_publisher_receives_the_outcomes_of_a_push(store: Store, receiver: Receiver) -> None:
    app = await store.app()
    await listen(store, receiver, app, "ada")
    good, refused, removed = (
        await store.copy(app, "anna", "a1"),
        await store.copy(app, "bert", "b1", "two"),
        await store.copy(app, "carl", "c1"),
    )
    store.apns.answer(refused.device_token, 400, "TopicDisallowed")
    store.apns.unregister(removed.device_token)
    page = await store.push(app, {copy.customer: [] for copy in (good, refused, removed)})
    await receiver.got(3)
    [completed] = receiver.of("push.completed")
    pending = page["counts"].pop("pending")
    assert pending == 0
    assert completed == {
        "app_id": app.app_id,
        "push_id": page["push_id"],
        "created_at": page["created_at"],
        "targets": 3,
        "counts": page["counts"],
        "reasons": {"TopicDisallowed": 1, "Unregistered": 1},
    }
    assert receiver.of("delivery.failed") == [
        {
            "app_id": app.app_id,
            "push_id": page["push_id"],
            "outcome": "failed",
            "status": 400,
            "reason": "TopicDisallowed",
            "copies": [named(refused, "two")],
        }
    ]
    [unregistered] = receiver.of("device.unregistered")
    assert (unregistered["outcome"], unregistered["copies"]) == ("unregistered", [named(removed)])
    sent = json.dumps([message.data for message in receiver.messages])
    for copy in (good, refused, removed):
        assert copy.device_token not in sent
    assert "secret-" not in sent


async def test_a_webhook_receives_chosen_events_of_its_app_only(store: Store, receiver: Receiver) -> None:
    app, other = await store.app(), await store.app()
    await listen(store, receiver, app, "all")
    await listen(store, receiver, app, "failures", ["delivery.failed"])
    copy, others = await store.copy(app, "anna", "a1"), await store.copy(other, "anna", "a1")
    await store.push(other, {others.customer: []})
    page = await store.push(app, {copy.customer: []})
    await receiver.got(1)
    await nothing_happens_for(0.5)
    assert [(message.path, message.type, message.data["push_id"]) for message in receiver.messages] == [
        ("all", "push.completed", page["push_id"])
    ]


async def test_pushes_without_targets_are_completed_at_once(store: Store, receiver: Receiver) -> None:
    app = await store.app()
    await listen(store, receiver, app, "ada")
    silent = await store.copy(app, "anna", "a1", register=False)
    pushes = [await store.push(app, {silent.customer: []}), await store.push(app, "all")]
    await receiver.got(2)
    targets = {data["push_id"]: data["targets"] for data in receiver.of("push.completed")}
    assert targets == {page["push_id"]: 0 for page in pushes}


async def test_an_expired_push_is_reported(store: Store, receiver: Receiver) -> None:
    app = await store.app()
    await listen(store, receiver, app, "ada")
    copy = await store.copy(app, "anna", "a1")
    store.apns.answer(copy.device_token, 503, "ServiceUnavailable")
    status, answer = await store.send(app, {copy.customer: []}, ttl=2)
    assert status == 202
    await receiver.got(2)
    [failed] = receiver.of("delivery.failed")
    assert (failed["push_id"], failed["outcome"]) == (answer["push_id"], "expired")
    assert receiver.of("push.completed")[0]["counts"]["expired"] == 1


async def test_the_failure_domain_of_a_listed_device_is_reported(store: Store, receiver: Receiver) -> None:
    """A publisher can test its server with the failure domains of a listed device."""
    app = await store.app()
    await listen(store, receiver, app, "ada")
    copy = await store.copy(app, "anna", "a1")
    listed = {"udid": "a1".ljust(40, "0"), "label": "mine", "failure_domain": "unregistered"}
    await store.must("POST", "/v1.0/test-devices/", app.publisher.manage_token, listed)
    await store.push(app, {copy.customer: []})
    await receiver.got(2)
    [unregistered] = receiver.of("device.unregistered")
    assert unregistered["copies"] == [named(copy)]


async def test_messages_are_retried_until_the_receiver_answers(
    store: Store, receiver: Receiver, log: Log
) -> None:
    app = await store.app()
    webhook = await listen(store, receiver, app, "ada", ["push.completed"])
    receiver.answers["ada"] = [502, 503]
    copy = await store.copy(app, "anna", "a1")
    page = await store.push(app, {copy.customer: []})
    await receiver.got(1)
    assert receiver.requests["ada"] == 3
    assert receiver.messages[0].data["push_id"] == page["push_id"]
    path = f"/v1.0/apps/{app.app_id}/webhooks/"

    async def shown_without_backlog() -> dict[str, Any]:
        listed = await store.must("GET", path, app.publisher.manage_token)
        [shown] = listed["items"]
        assert shown["waiting"] == 0
        return shown

    shown = await eventually(shown_without_backlog)
    assert (shown["id"], shown["state"], shown["last_status"]) == (webhook, "active", 204)
    assert [line["status"] for line in log.grep("a message is answered")] == [502, 503, 204]


async def test_each_push_is_completed_once_over_three_nodes(
    settings: Settings, apns: ApnsStandIn, database: Database, receiver: Receiver
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    settings = msgspec.structs.replace(
        settings, dispatch=msgspec.structs.replace(settings.dispatch, batch_size=1)
    )
    async with AsyncExitStack() as stack:
        door = await Relay.start(settings, stack, roles=Roles(dispatch=False))
        for _ in range(2):
            await Relay.start(settings, stack, roles=Roles(api=False))
        store = Store(await stack.enter_async_context(aiohttp.ClientSession(door.url)), apns, token)
        app = await store.app()
        copies = [await store.copy(app, f"c{n}", f"a{n}") for n in range(6)]
        await listen(store, receiver, app, "ada", ["push.completed"])
        everybody: dict[str, list[str]] = {copy.customer: [] for copy in copies}
        sent = [(await store.send(app, to))[1]["push_id"] for to in (everybody, "all", everybody, "all") * 2]
        for push in sent:
            await store.done(app, push)
        await receiver.got(len(sent))
        await nothing_happens_for(1.5)
        assert sorted(data["push_id"] for data in receiver.of("push.completed")) == sorted(sent)
        assert {data["counts"]["delivered"] for data in receiver.of("push.completed")} == {6}


# --- the command ---


async def run(relay: Relay, token: str, *arguments: str) -> Any:
    environ = {"PUSH_RELAY_TOKEN": token, "PUSH_RELAY_URL": relay.url}
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(commands, ["webhook-test", *arguments], env=environ)
    )


async def test_the_command_shows_a_message(relay: Relay, store: Store) -> None:
    app = await store.app()
    manage = app.publisher.manage_token
    said = await run(relay, manage, "--app", app.app_id)
    assert said.exit_code == 0, said.output
    assert "webhook-signature: v1," in said.output
    assert '"type":"webhook.test"' in said.output
    assert "The signature is right." in said.output
    said = await run(relay, manage, "--app", app.app_id, "--json")
    shown = json.loads(said.output)
    assert (shown["signature"], shown["answer"]["status"]) == ("right", 204)
    listed = await store.must("GET", f"/v1.0/apps/{app.app_id}/webhooks/", manage)
    assert listed["items"] == [], "the webhook of the command is removed"


async def test_the_command_explains_failures(relay: Relay, store: Store) -> None:
    app = await store.app()
    manage = app.publisher.manage_token
    said = await run(relay, manage, "--app", app.app_id, "--public-url", "http://127.0.0.1:1/")
    assert (said.exit_code, "Nothing arrived here" in said.output) == (1, True), said.output
    assert "refuses the connection" in said.output
    said = await run(relay, manage, "--app", "unknown")
    assert (said.exit_code, "There is no such app" in said.output) == (1, True), said.output
    assert (await run(relay, manage, "--app", app.app_id, "--listen", "nowhere")).exit_code == 2


async def test_the_command_explains_that_private_addresses_are_refused(
    settings: Settings, apns: ApnsStandIn, database: Database
) -> None:
    token = await create_operator_token(database, SystemClock(), secrets.token_bytes)
    settings = msgspec.structs.replace(settings, webhooks=WebhooksSettings())
    async with AsyncExitStack() as stack:
        relay = await Relay.start(settings, stack)
        store = Store(await stack.enter_async_context(aiohttp.ClientSession(relay.url)), apns, token)
        app = await store.app()
        said = await run(relay, app.publisher.manage_token, "--app", app.app_id)
    assert (said.exit_code, "webhooks.allow_private" in said.output) == (1, True), said.output
