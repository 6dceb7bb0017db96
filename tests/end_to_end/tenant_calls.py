"""One or more requests for every operation of the API, each naming the things of one tenant."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import yaml

from relay.api.spec import spec_file

from .store import ALERT

METHODS = ("get", "put", "post", "delete", "patch")
KINDS = {"pushToken": "push", "manageToken": "manage", "operatorToken": "operator", "installToken": "install"}
"""Kinds of token by the name of their security scheme in the API description."""
TEAM = "TEAMOFADA1"
UPDATE = {"aps": {"timestamp": 1, "event": "update", "content-state": {}}}


@dataclass
class Things:
    """Names and identifiers that a request can contain. The defaults are absent from the relay, but well-formed."""

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
"""Path and body of a request."""


def calls(things: Things, own_app: str) -> dict[str, list[Call]]:
    """Return the requests for each operation, by operationId. `own_app` is the app of the caller."""
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
        "customer": "a-customer",
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


ALLOWED_STATUSES = {
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
"""Statuses for another tenant's valid token of the right kind, where they differ from 404.

By kind of token and operationId. Such a token may act for its own tenant.
"""


def operations() -> Iterator[tuple[str, str, set[str]]]:
    """Yield (operationId, method, accepted kinds of token) of each operation in the API description."""
    document = yaml.safe_load(spec_file().read_text(encoding="utf-8"))
    for item in document["paths"].values():
        for method in METHODS:
            if method in item:
                operation = item[method]
                kinds = {KINDS[name] for scheme in operation["security"] for name in scheme}
                yield operation["operationId"], method.upper(), kinds
