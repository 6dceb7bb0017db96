"""Isolation of tenants: every operation of the API, called with every token that does not belong to the tenant.

Each request is made twice: once for a thing of the tenant and once for an absent thing. Both must have equal answers.
Afterwards all rows of the tenant must be unchanged, and no answer may contain anything of the tenant.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from multidict import CIMultiDict

from relay.core.api_tokens import digest_of_token, make_token
from relay.node.main import Relay
from relay.store.database import Database
from tests.eventually import eventually

from .store import App, Copy, Store
from .tenant_calls import ALLOWED_STATUSES, TEAM, UPDATE, Call, Things, calls, operations

_SHARED_WITHIN_APP = ("registerDeviceToken", "getInstallationChannel")
"""Operations on shared things: a device token belongs to its latest registration, a channel to the whole app."""


@dataclass
class Caller:
    """A stranger to the tenant.

    `kind` is the kind of a valid token, or empty. `known` are secrets that the caller may know. With `ended`, the token
    has a known kind but is no longer valid.
    """

    name: str
    token: str
    kind: str = ""
    app_id: str = "eve"
    known: set[str] = field(default_factory=set)
    ended: bool = False


@dataclass
class Tenant:
    things: Things
    app: App
    copy: Copy
    secrets: set[str]
    """Texts that an answer to a stranger may contain only if the request contained them."""


async def tenant(store: Store, database: Database) -> Tenant:
    """Create a tenant that has one thing of each sort."""
    publisher = await store.publisher()
    app = await store.app(publisher)
    things = Things(app_id=app.app_id, publisher_id=publisher.publisher_id)
    copy = await store.copy(app, "of-ada", things.udid, team_id=TEAM)
    push = await store.push(app, {copy.customer: []}, debug=False)
    manage = publisher.manage_token
    listed = {"udid": things.udid, "label": "Ada's phone"}
    test_device = await store.must("POST", "/v1.0/test-devices/", manage, listed)
    webhook = await store.must(
        "POST",
        f"/v1.0/apps/{app.app_id}/webhooks/",
        manage,
        {"url": "https://receiver-of-ada.example/", "events": ["delivery.failed"]},
    )
    tokens = await store.must("GET", f"/v1.0/apps/{app.app_id}/tokens/", manage)
    permission = {"installations_attach_aliases": True}
    await store.must("PATCH", f"/v1.0/apps/{app.app_id}/", manage, permission)
    aliases = f"/v1.0/customers/{copy.customer}/aliases/"
    alias = await store.must("POST", aliases, app.push_token, {"alias": things.alias})
    second_alias = {"alias": "secret-ada@example.com"}
    own_alias = await store.must("POST", "/v1.0/installation/aliases/", copy.install_token, second_alias)
    async with database.connection() as connection:
        credential = await connection.fetchval(
            "SELECT credential_id FROM credential WHERE team_id = $1", TEAM
        )
    body = {"app_id": app.app_id}
    things.channel_id = (await store.must("POST", "/v1.0/channels/", app.push_token, body))["id"]
    await store.must("GET", f"/v1.0/installation/channels/{things.channel_id}/", copy.install_token)
    channel = f"/v1.0/channels/{things.channel_id}/"
    sent = await store.must("POST", f"{channel}send/", app.push_token, {"payload": UPDATE})
    things.channel_push_id = sent["push_id"]

    async def channel_push_is_done() -> bool:
        page = await store.must("GET", f"{channel}pushes/{sent['push_id']}/", manage)
        return page["state"] == "done"

    await eventually(channel_push_is_done)
    things.customer, things.device = copy.customer, copy.device
    things.push_id, things.test_device_id = push["push_id"], test_device["id"]
    things.webhook_id = webhook["id"]
    things.token_id, things.credential_id = tokens["items"][0]["id"], str(credential)
    things.installation_uuid, things.device_token = copy.uuid, copy.device_token
    things.alias_id, things.own_alias_id = alias["id"], own_alias["id"]
    hidden = {value for name, value in asdict(things).items() if name != "credential_id"}
    hidden |= {
        TEAM,
        "secret-customer-of-ada",
        "Ada's phone",
        "secret-ada",
        "receiver-of-ada",
        webhook["secret"],
    }
    hidden |= {manage, app.push_token, copy.install_token}
    return Tenant(things, app, copy, hidden)


async def strangers(store: Store, database: Database, ada: Tenant) -> list[Caller]:
    """Return a caller for every kind of token that is invalid, ended or of another tenant."""
    eve = await store.app()
    eves_copy = await store.copy(eve, "eve", "e1", register=False)
    second = await store.app(ada.app.publisher)
    seconds_copy = await store.copy(second, "of-ada", "e2", register=False)
    other_copy = await store.copy(ada.app, "bob", "e3", register=False)
    retired = await store.copy(ada.app, "of-ada", "e4")
    await store.must("DELETE", f"/v1.0/operator/installations/{retired.uuid}/", store.operator_token)
    publisher = ada.app.publisher
    ended = {
        f"{how} {kind}": make_token(kind, secrets.token_bytes(32))
        for how in ("revoked", "expires")
        for kind in ("push", "manage", "operator")
    }
    async with database.connection() as connection:
        for name, token in ended.items():
            how, kind = name.split()
            await connection.execute(
                f"INSERT INTO api_token (digest, token_id, kind, publisher_id, app_id, created_at, {how}_at)"
                " VALUES ($1, $2, $3, $4, $5, now(), now() - interval '1 minute')",
                digest_of_token(token),
                uuid4(),
                kind,
                UUID(publisher.publisher_id) if kind != "operator" else None,
                ada.app.app_id if kind == "push" else None,
            )
    forged = ada.copy.install_token[:-1] + ("A" if ada.copy.install_token[-1] != "A" else "B")
    unknown = {
        "no token": "",
        "garbage": "push_garbage",
        "another scheme's": "%",
        "another's device token": ada.things.device_token,
        "forged install": forged,
        **{f"unknown {kind}": make_token(kind, bytes(32)) for kind in ("push", "manage", "operator")},
        **ended,
    }
    return [
        *(Caller(name, token) for name, token in unknown.items()),
        Caller("the retired copy's", retired.install_token, "install", ended=True),
        Caller("eve's push", eve.push_token, "push", eve.app_id),
        Caller("eve's manage", eve.publisher.manage_token, "manage", eve.app_id),
        Caller("eve's install", eves_copy.install_token, "install", eve.app_id),
        Caller("the other app's push", second.push_token, "push", second.app_id),
        Caller("the other app's install", seconds_copy.install_token, "install", second.app_id, {TEAM}),
        Caller("the other copy's install", other_copy.install_token, "install", known={ada.things.app_id}),
        Caller("the operator's", store.operator_token, "operator"),
    ]


_GENERATED = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|(?:push|manage)_[\w-]{48}"
)


async def ask(store: Store, caller: Caller, method: str, call: Call, things: Things) -> tuple[Any, str]:
    """Return (status, headers, body) without requested and generated ids, and the complete answer as text."""
    path, body = call
    headers = CIMultiDict({"X-Request-Id": "the-same-for-all"})
    if caller.token == "%":
        headers["Authorization"] = "Basic cHVzaDpwdXNo"
    elif caller.token:
        headers["Authorization"] = f"Bearer {caller.token}"
    async with store.http.request(method, path, json=body, headers=headers) as response:
        text = await response.text()
        shown = {name: value for name, value in response.headers.items() if name != "Date"}
    complete, comparable, asked = text + json.dumps(shown), text, path + json.dumps(body)
    for name, value in asdict(things).items():
        if value in asked and name != "credential_id":
            comparable = comparable.replace(value, f"<{name}>")
    return (response.status, shown, _GENERATED.sub("<generated>", comparable)), complete


async def rows(database: Database) -> set[str]:
    """Return every row of every table, without `last_used_at` and without the tables that nodes write on their own."""
    contents: set[str] = set()
    async with database.connection() as connection:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname NOT IN ('node', 'minute_count')"
        )
        for (table,) in tables:
            content = await connection.fetch(f"SELECT (to_jsonb(t) - 'last_used_at')::text FROM {table} t")
            contents |= {f"{table} {row[0]}" for row in content}
    return contents


def test_every_operation_with_a_token_has_a_call() -> None:
    asked = calls(Things(), "eve").keys()
    secured = {name for name, _, kinds in operations() if kinds}
    assert asked == secured, "every operation that takes a token stands in `calls`"


def expected_statuses(caller: Caller, name: str, kinds: set[str]) -> set[int]:
    if caller.kind and caller.kind not in kinds:
        return {403}
    return {401} if caller.ended or not caller.kind else ALLOWED_STATUSES.get((caller.kind, name), {404})


@pytest.fixture
async def ada(store: Store, relay: Relay) -> Tenant:
    return await tenant(store, relay.database)


async def test_strangers_learn_and_change_nothing(store: Store, relay: Relay, ada: Tenant) -> None:
    callers = await strangers(store, relay.database, ada)
    before = await rows(relay.database)
    absent = Things()
    for name, method, kinds in operations():
        if not kinds:
            continue
        for caller in callers:
            if caller.kind == "operator" and "operator" in kinds:
                continue  # the operator may do all of these
            absent_calls = calls(absent, caller.app_id)[name]
            for call, missing in zip(calls(ada.things, caller.app_id)[name], absent_calls, strict=True):
                if name in _SHARED_WITHIN_APP and caller.name.startswith("the other copy"):
                    call = missing
                where = f"{name} by {caller.name}: {call}"
                comparable, complete = await ask(store, caller, method, call, ada.things)
                assert comparable[0] in expected_statuses(caller, name, kinds), where
                assert comparable == (await ask(store, caller, method, missing, absent))[0], where
                asked = call[0] + json.dumps(call[1])
                assert not [
                    value for value in ada.secrets - caller.known if value in complete and value not in asked
                ], where
    lost = before - await rows(relay.database)
    assert not lost, "the rows of the tenant are unchanged"
    assert (await store.push(ada.app, {ada.copy.customer: []}))["counts"]["delivered"] >= 1


async def test_the_owner_succeeds_where_strangers_are_refused(store: Store, ada: Tenant) -> None:
    """Proves that the requests name existing things: with the right token every answer is a success."""
    operator = Caller("the operator's", store.operator_token, "operator", ada.things.app_id)
    owners = {
        "push": Caller("ada's push", ada.app.push_token, "push", ada.things.app_id),
        "manage": Caller("ada's manage", ada.app.publisher.manage_token, "manage", ada.things.app_id),
        "install": Caller("ada's install", ada.copy.install_token, "install", ada.things.app_id),
        "operator": operator,
    }
    named = calls(ada.things, ada.things.app_id)
    ending = (
        *("deleteChannel", "removeAlias", "removeOwnAlias", "withdrawDeviceToken"),
        *("revokePushToken", "removeWebhook", "removeTestDevice", "removeCredential", "retire"),
    )
    ordered = sorted(operations(), key=lambda operation: ("operator" in operation[2], operation[0] in ending))
    for name, method, kinds in ordered:
        for caller in [owners[kind] for kind in sorted(kinds)][: 1 if name in ending else None]:
            for call in named[name][: 1 if name in ending else None]:
                (status, _, text), _ = await ask(store, caller, method, call, ada.things)
                refused = {"putCredential": 422, "addTestDevice": 409}
                assert status == refused.get(name, status), text
                assert status < 300 or name in refused, f"{name} by {caller.name}: {text}"
