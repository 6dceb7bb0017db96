"""Every operation of the description, with every credential that is somebody else's, against the things of one tenant.

For each the same request is made twice: for a thing of that tenant, and for one that nobody has. Both must be answered
alike, the second time all the rows of the tenant must be as before, and nothing of it may be in any answer.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from multidict import CIMultiDict

from relay.api.spec import spec_file
from relay.core.api_tokens import digest_of_token, make_token
from relay.node.main import Relay
from relay.store.database import Database
from tests.eventually import eventually

from .store import ALERT, App, Copy, Store

METHODS = ("get", "put", "post", "delete", "patch")
KINDS = {"pushToken": "push", "manageToken": "manage", "operatorToken": "operator", "installToken": "install"}
TEAM = "TEAMOFADA1"
UPDATE = {"aps": {"timestamp": 1, "event": "update", "content-state": {}}}


@dataclass
class Things:
    """What a request can name. All have the length and the form of the real ones."""

    app_id: str = field(default_factory=lambda: secrets.token_hex(20))
    customer: str = field(default_factory=lambda: f"c_{secrets.token_urlsafe(33)}")
    device: str = field(default_factory=lambda: f"d_{secrets.token_urlsafe(33)}")
    push_id: str = field(default_factory=lambda: str(uuid4()))
    channel_id: str = field(default_factory=lambda: str(uuid4()))
    channel_push_id: str = field(default_factory=lambda: str(uuid4()))
    token_id: str = field(default_factory=lambda: str(uuid4()))
    test_device_id: str = field(default_factory=lambda: str(uuid4()))
    alias_id: str = field(default_factory=lambda: str(uuid4()))
    own_alias_id: str = field(default_factory=lambda: str(uuid4()))
    alias: str = field(default_factory=lambda: f"{secrets.token_hex(8)}@example.com")
    webhook_id: str = field(default_factory=lambda: str(uuid4()))
    publisher_id: str = field(default_factory=lambda: str(uuid4()))
    credential_id: str = "999999999"
    installation_uuid: str = field(default_factory=lambda: str(uuid4()))
    udid: str = field(default_factory=lambda: secrets.token_hex(20))
    device_token: str = field(default_factory=lambda: secrets.token_hex(32))


Call = tuple[str, Any]
"""A path and a body."""


def calls(things: Things, own_app: str) -> dict[str, list[Call]]:
    """What to ask of each operation; `own_app` is the app of the caller."""
    to_customer = {"payload": ALERT, "destinations": {things.customer: []}}
    to_device = {"payload": ALERT, "destinations": {things.customer: [things.device]}}
    push = f"/v1.0/pushes/{things.push_id}/"
    channel = f"/v1.0/channels/{things.channel_id}/"
    tokens = f"/v1.0/apps/{things.app_id}/tokens/"
    test_device = f"/v1.0/test-devices/{things.test_device_id}/"
    webhooks = f"/v1.0/apps/{things.app_id}/webhooks/"
    own_webhook = f"/v1.0/apps/{own_app}/webhooks/{things.webhook_id}/"
    operator = "/v1.0/operator"
    copy = {
        "app_id": things.app_id,
        "customer": "somebody",
        "udid": things.udid,
        "bundle_id": "com.example",
        "team_id": TEAM,
    }
    installation = f"{operator}/installations/{things.installation_uuid}/"
    device_token = "/v1.0/installation/device-token/"
    of_app = f"?app_id={things.app_id}"
    customer = f"/v1.0/customers/{things.customer}/"
    alias = {"alias": things.alias}
    return {
        "send": [
            ("/v1.0/send/", {"app_id": things.app_id, "payload": ALERT, "destinations": "all"}),
            ("/v1.0/send/", {"app_id": own_app, **to_customer}),
            ("/v1.0/send/", {"app_id": own_app, **to_device}),
            ("/v1.0/send/", {"app_id": own_app, "payload": ALERT, "destinations": [things.alias]}),
        ],
        "validate": [
            ("/v1.0/validate/", {"app_id": things.app_id, "payload": ALERT, "destinations": "all"}),
            ("/v1.0/validate/", {"app_id": own_app, **to_customer}),
            ("/v1.0/validate/", {"app_id": own_app, **to_device}),
        ],
        "getPush": [(push, None)],
        "cancelPush": [(push, None)],
        "listDeliveries": [(f"{push}deliveries/?limit=10", None)],
        "getTrace": [(f"{push}trace/", None)],
        "listCustomers": [(f"/v1.0/customers/{of_app}", None)],
        "searchCustomers": [
            (f"/v1.0/customers/search/{of_app}", alias),
            (f"/v1.0/customers/search/?app_id={own_app}", alias),
        ],
        "getCustomer": [(customer + of_app, None), (f"{customer}?app_id={own_app}", None)],
        "attachAlias": [
            (f"{customer}aliases/{of_app}", alias),
            (f"{customer}aliases/?app_id={own_app}", alias),
        ],
        "listAliases": [
            (f"{customer}aliases/{of_app}", None),
            (f"{customer}aliases/?app_id={own_app}", None),
        ],
        "removeAlias": [
            (f"{customer}aliases/{things.alias_id}/{of_app}", None),
            (f"{customer}aliases/{things.alias_id}/?app_id={own_app}", None),
        ],
        "addChannel": [("/v1.0/channels/", {"app_id": things.app_id})],
        "listChannels": [("/v1.0/channels/", None)],
        "getChannel": [(channel, None)],
        "deleteChannel": [(channel, None)],
        "sendToChannel": [(f"{channel}send/", {"payload": UPDATE})],
        "getChannelPush": [(f"{channel}pushes/{things.channel_push_id}/", None)],
        "getInstallationChannel": [(f"/v1.0/installation/channels/{things.channel_id}/", None)],
        "getInstallation": [("/v1.0/installation/", None)],
        "registerDeviceToken": [(device_token, {"device_token": things.device_token})],
        "withdrawDeviceToken": [(device_token, None)],
        "attachOwnAlias": [("/v1.0/installation/aliases/", alias)],
        "listOwnAliases": [("/v1.0/installation/aliases/", None)],
        "removeOwnAlias": [(f"/v1.0/installation/aliases/{things.own_alias_id}/", None)],
        "listApps": [("/v1.0/apps/", None)],
        "changeApp": [(f"/v1.0/apps/{things.app_id}/", {"installations_attach_aliases": True})],
        "addPushToken": [(tokens, {"label": "mine now"})],
        "listPushTokens": [(tokens, None)],
        "revokePushToken": [
            (f"{tokens}{things.token_id}/", None),
            (f"/v1.0/apps/{own_app}/tokens/{things.token_id}/", None),
        ],
        "addTestDevice": [("/v1.0/test-devices/", {"udid": things.udid, "label": "theirs"})],
        "listTestDevices": [("/v1.0/test-devices/", None)],
        "changeTestDevice": [(test_device, {"failure_domain": "unregistered"}), (test_device, {})],
        "removeTestDevice": [(test_device, None)],
        "addWebhook": [(webhooks, {"url": "https://eve.example/", "events": ["delivery.failed"]})],
        "listWebhooks": [(webhooks, None)],
        "removeWebhook": [(f"{webhooks}{things.webhook_id}/", None), (own_webhook, None)],
        "testWebhook": [(f"{webhooks}{things.webhook_id}/test/", None), (f"{own_webhook}test/", None)],
        "addPublisher": [(f"{operator}/publishers/", {"name": "Eve"})],
        "listPublishers": [(f"{operator}/publishers/", None)],
        "addManageToken": [(f"{operator}/publishers/{things.publisher_id}/tokens/", None)],
        "addApp": [(f"{operator}/apps/", {"publisher_id": things.publisher_id, "name": "Eve's"})],
        "listAllApps": [(f"{operator}/apps/", None)],
        "putCredential": [(f"{operator}/credentials/", {"environment": "production", "team_id": TEAM})],
        "listCredentials": [(f"{operator}/credentials/", None)],
        "removeCredential": [(f"{operator}/credentials/{things.credential_id}/", None)],
        "resumeCredential": [(f"{operator}/credentials/{things.credential_id}/resume/", None)],
        "suspendCredential": [(f"{operator}/credentials/{things.credential_id}/suspend/", None)],
        "enrolMany": [
            (
                f"{operator}/installations/",
                {"installations": [{**copy, "installation_uuid": things.installation_uuid}]},
            )
        ],
        "enrol": [(installation, copy)],
        "retire": [(installation, None)],
        "listAudit": [("/v1.0/audit/", None)],
    }


ALLOWED = {
    ("manage", "addTestDevice"): {201},
    ("manage", "listChannels"): {200},
    ("push", "listChannels"): {200},
    ("manage", "listApps"): {200},
    ("manage", "listTestDevices"): {200},
    ("manage", "listAudit"): {200},
    ("push", "send"): {403, 422},
    ("push", "validate"): {403, 422},
    ("push", "searchCustomers"): {200, 404},
    ("manage", "searchCustomers"): {200, 404},
    ("install", "getInstallation"): {200},
    ("install", "attachOwnAlias"): {201, 403},
    ("install", "listOwnAliases"): {200, 403},
    ("install", "removeOwnAlias"): {404, 403},
    ("install", "registerDeviceToken"): {204},
    ("install", "withdrawDeviceToken"): {204},
}
"""What somebody else's good token of the right kind gets, where it is not 404: it may act for its own tenant."""


_OF_THE_APP = ("registerDeviceToken", "getInstallationChannel")
"""Within one app a device token belongs to who registered it last, and a channel to all copies."""


@dataclass
class Caller:
    """Somebody else. `kind` is empty for a token that is good for nothing; `own` is what they know rightfully.

    A token that has `ended` is still known for one of its kind.
    """

    name: str
    token: str
    kind: str = ""
    app_id: str = "eve"
    own: set[str] = field(default_factory=set)
    ended: bool = False


@dataclass
class Tenant:
    things: Things
    app: App
    copy: Copy
    secrets: set[str]
    """What nobody else may see in an answer, unless they have sent it."""


def operations() -> Iterator[tuple[str, str, set[str]]]:
    """(operationId, method, kinds of token that it takes) of the description."""
    document = yaml.safe_load(spec_file().read_text(encoding="utf-8"))
    for item in document["paths"].values():
        for method in METHODS:
            if method in item:
                operation = item[method]
                kinds = {KINDS[name] for scheme in operation["security"] for name in scheme}
                yield operation["operationId"], method.upper(), kinds


async def tenant(store: Store, database: Database) -> Tenant:
    """Somebody with one thing of each sort."""
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
    may = {"installations_attach_aliases": True}
    await store.must("PATCH", f"/v1.0/apps/{app.app_id}/", manage, may)
    aliases = f"/v1.0/customers/{copy.customer}/aliases/"
    alias = await store.must("POST", aliases, app.push_token, {"alias": things.alias})
    other = {"alias": "secret-ada@example.com"}
    own_alias = await store.must("POST", "/v1.0/installation/aliases/", copy.install_token, other)
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
    """Every kind of credential that is not the tenant's own, or is no longer good."""
    eve = await store.app()
    eves_copy = await store.copy(eve, "eve", "e1", register=False)
    second = await store.app(ada.app.publisher)
    seconds_copy = await store.copy(second, "of-ada", "e2", register=False)
    other_copy = await store.copy(ada.app, "bob", "e3", register=False)
    retired = await store.copy(ada.app, "of-ada", "e4")
    await store.must("DELETE", f"/v1.0/operator/installations/{retired.uuid}/", store.operator_token)
    publisher = ada.app.publisher
    made = {
        f"{how} {kind}": make_token(kind, secrets.token_bytes(32))
        for how in ("revoked", "expires")
        for kind in ("push", "manage", "operator")
    }
    async with database.connection() as connection:
        for name, token in made.items():
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
        "nobody": "",
        "garbage": "push_garbage",
        "another scheme's": "%",
        "another's device token": ada.things.device_token,
        "forged install": forged,
        **{f"unknown {kind}": make_token(kind, bytes(32)) for kind in ("push", "manage", "operator")},
        **made,
    }
    return [
        *(Caller(name, token) for name, token in unknown.items()),
        Caller("the retired copy's", retired.install_token, "install", ended=True),
        Caller("eve's push", eve.push_token, "push", eve.app_id),
        Caller("eve's manage", eve.publisher.manage_token, "manage", eve.app_id),
        Caller("eve's install", eves_copy.install_token, "install", eve.app_id),
        Caller("the other app's push", second.push_token, "push", second.app_id),
        Caller("the other app's install", seconds_copy.install_token, "install", second.app_id, {TEAM}),
        Caller("the other copy's install", other_copy.install_token, "install", own={ada.things.app_id}),
        Caller("the operator's", store.operator_token, "operator"),
    ]


_MADE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|(?:push|manage)_[\w-]{48}"
)


async def ask(store: Store, caller: Caller, method: str, call: Call, things: Things) -> tuple[Any, str]:
    """(status, headers, body) but for the ids that were asked for and made, and the whole answer."""
    path, body = call
    headers = CIMultiDict({"X-Request-Id": "the-same-for-all"})
    if caller.token == "%":
        headers["Authorization"] = "Basic cHVzaDpwdXNo"
    elif caller.token:
        headers["Authorization"] = f"Bearer {caller.token}"
    async with store.http.request(method, path, json=body, headers=headers) as response:
        text = await response.text()
        shown = {name: value for name, value in response.headers.items() if name != "Date"}
    whole, alike, asked = text + json.dumps(shown), text, path + json.dumps(body)
    for name, value in asdict(things).items():
        if value in asked and name != "credential_id":
            alike = alike.replace(value, f"<{name}>")
    return (response.status, shown, _MADE.sub("<made>", alike)), whole


async def rows(database: Database) -> set[str]:
    """Every row of every table, but for when a token was used last and what nodes say of themselves."""
    found: set[str] = set()
    async with database.connection() as connection:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname NOT IN ('node', 'minute_count')"
        )
        for (table,) in tables:
            content = await connection.fetch(f"SELECT (to_jsonb(t) - 'last_used_at')::text FROM {table} t")
            found |= {f"{table} {row[0]}" for row in content}
    return found


def test_every_operation_is_asked() -> None:
    asked = calls(Things(), "eve").keys()
    secured = {name for name, _, kinds in operations() if kinds}
    assert asked == secured, "every operation that takes a token stands in `calls`"


def expected(caller: Caller, name: str, kinds: set[str]) -> set[int]:
    if caller.kind and caller.kind not in kinds:
        return {403}
    return {401} if caller.ended or not caller.kind else ALLOWED.get((caller.kind, name), {404})


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
            mine = calls(absent, caller.app_id)[name]
            for call, missing in zip(calls(ada.things, caller.app_id)[name], mine, strict=True):
                if name in _OF_THE_APP and caller.name.startswith("the other copy"):
                    call = missing
                where = f"{name} by {caller.name}: {call}"
                got, whole = await ask(store, caller, method, call, ada.things)
                assert got[0] in expected(caller, name, kinds), where
                assert got == (await ask(store, caller, method, missing, absent))[0], where
                asked = call[0] + json.dumps(call[1])
                assert not [
                    value for value in ada.secrets - caller.own if value in whole and value not in asked
                ], where
    lost = before - await rows(relay.database)
    assert not lost, "what was there is there, as it was"
    assert (await store.push(ada.app, {ada.copy.customer: []}))["counts"]["delivered"] >= 1


async def test_the_owner_gets_what_strangers_are_denied(store: Store, ada: Tenant) -> None:
    """So the walk names things that are there: with the right token each answer is a good one."""
    operator = Caller("the operator's", store.operator_token, "operator", ada.things.app_id)
    owners = {
        "push": Caller("ada's push", ada.app.push_token, "push", ada.things.app_id),
        "manage": Caller("ada's manage", ada.app.publisher.manage_token, "manage", ada.things.app_id),
        "install": Caller("ada's install", ada.copy.install_token, "install", ada.things.app_id),
        "operator": operator,
    }
    named = calls(ada.things, ada.things.app_id)
    ends = (
        *("deleteChannel", "removeAlias", "removeOwnAlias", "withdrawDeviceToken"),
        *("revokePushToken", "removeWebhook", "removeTestDevice", "removeCredential", "retire"),
    )
    wanted = sorted(operations(), key=lambda operation: ("operator" in operation[2], operation[0] in ends))
    for name, method, kinds in wanted:
        for caller in [owners[kind] for kind in sorted(kinds)][: 1 if name in ends else None]:
            for call in named[name][: 1 if name in ends else None]:
                (status, _, text), _ = await ask(store, caller, method, call, ada.things)
                refused = {"putCredential": 422, "addTestDevice": 409}
                assert status == refused.get(name, status), text
                assert status < 300 or name in refused, f"{name} by {caller.name}: {text}"
