"""The endpoints but those that send, on a real server with a real database, and a client for them."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.api.apps import AppsApi
from relay.api.audit import AuditApi
from relay.api.callers import AppOwners
from relay.api.credentials import CredentialsApi
from relay.api.customers import CustomersApi
from relay.api.device import DeviceApi
from relay.api.installations import EnrolmentKeys, OperatorInstallationsApi
from relay.api.publishers import PublishersApi
from relay.api.push_tokens import PushTokensApi
from relay.api.pushes import PushesApi
from relay.api.test_devices import TestDevicesApi
from relay.api.webhooks import WebhooksApi
from relay.core.identifiers import Identifiers
from relay.core.install_tokens import InstallTokens
from relay.core.udid import UdidDigests
from relay.dispatch.webhook_receivers import HttpReceivers
from relay.http.authentication import INSTALL_TOKENS, TOKEN_CACHE
from relay.http.problems import problems
from relay.keys import KeyRing
from relay.service.services import ServiceDependencies, build_services
from relay.store.accounts.api_tokens import create_operator_token
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database
from tests.leaks import LEAKS

KEYS = ("secret-key-the-first-of-the-test-relay", "secret-key-the-second-of-the-test-relay")
IDENTIFIERS = Identifiers(KEYS)
TEAM, OTHER_TEAM = "TEAM000001", "TEAM000002"


@dataclass
class Clock:
    """A clock that stands still but for `advance`."""

    moment: datetime = field(default_factory=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC))

    def now(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def application(
    database: Database,
    clock: Clock,
    installation_keys: tuple[str, ...] = KEYS,
    *,
    allow_private: bool = False,
) -> web.Application:
    tokens = TokenCache(database, clock)
    install_tokens, udids = InstallTokens(installation_keys), UdidDigests(KEYS[0])
    app = web.Application(middlewares=[problems], client_max_size=4 * 1024 * 1024)
    app[TOKEN_CACHE] = tokens
    app[INSTALL_TOKENS] = install_tokens
    receivers = HttpReceivers(allow_private=allow_private, timeout=60)

    async def close(_: web.Application) -> None:
        await receivers.aclose()

    app.on_cleanup.append(close)
    services = build_services(
        ServiceDependencies(
            database=database,
            keys=KeyRing(identifiers=KEYS, installations=installation_keys, credentials=KEYS, udid=KEYS[0]),
            token_cache=tokens,
            receivers=receivers,
            clock=clock,
            random=secrets.token_bytes,
            allow_private_webhooks=allow_private,
            on_due=lambda: None,
        )
    )
    owners = AppOwners(database)
    for api in (
        PublishersApi(database, services.publishers),
        CredentialsApi(services.credentials),
        OperatorInstallationsApi(
            database, EnrolmentKeys(IDENTIFIERS, install_tokens, udids), clock, secrets.token_bytes
        ),
        AppsApi(database, clock),
        PushTokensApi(owners, services.push_tokens),
        TestDevicesApi(services.test_devices),
        WebhooksApi(owners, services.webhooks),
        CustomersApi(owners, services.customers, services.aliases),
        DeviceApi(database, install_tokens, services.aliases, clock),
        PushesApi(database, clock),
        AuditApi(database),
    ):
        app.add_routes(api.routes())
    return app


@dataclass
class Answer:
    """An answer of the API: its status, its decoded body and its headers."""

    status: int
    body: Any
    headers: Any

    @property
    def faults(self) -> list[tuple[str, str]]:
        """Return code and pointer of each fault of a problem."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self
        assert self.body["success"] is False
        return [(fault["code"], fault["pointer"]) for fault in self.body["errors"]]


class Front:
    """A client with the operator's token, and shortcuts to what most tests need first."""

    def __init__(
        self, client: TestClient[web.Request, web.Application], clock: Clock, database: Database, token: str
    ) -> None:
        self.client = client
        self.clock = clock
        self.database = database
        self.operator_token = token
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return str(self.client.make_url("/"))

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, raw: bytes | None = None
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self.operator_token if token is None else token}"}
        if token == "":
            headers = {}
        if raw is not None:
            headers["Content-Type"] = "application/json"
        async with self.client.request(
            method, f"/v1.0/{path}", json=body, data=raw, headers=headers
        ) as response:
            is_json = "json" in response.content_type
            return Answer(
                response.status,
                await response.json(content_type=None) if is_json else await response.text(),
                response.headers,
            )

    async def publisher(self, name: str = "Ada") -> tuple[str, str]:
        """Create a publisher. Returns its id and its manage token."""
        answer = await self.call("POST", "operator/publishers/", {"name": name})
        assert answer.status == 201, answer
        return answer.body["id"], answer.body["manage_token"]

    async def app(self, publisher_id: str | None = None, app_id: str | None = None) -> str:
        publisher_id = publisher_id or (await self.publisher())[0]
        answer = await self.call(
            "POST", "operator/apps/", {"publisher_id": publisher_id, "name": "Chess", "app_id": app_id}
        )
        assert answer.status == 201, answer
        return str(answer.body["app_id"])

    def udid(self) -> str:
        return f"{next(self._numbers):08x}-{secrets.token_hex(8)}"

    def copy(self, app_id: str, **changes: Any) -> dict[str, Any]:
        """Return the body that enrols a copy of an app. Copies are on one device, unless `udid` is given."""
        return {
            "app_id": app_id,
            "customer": "secret-customer-1",
            "udid": "00008030-001c2d223a80802e",
            "alongside": "",
            "bundle_id": "com.example.chess",
            "team_id": TEAM,
            "environment": "production",
            "app_version": "1.0",
            **changes,
        }

    async def put(self, body: dict[str, Any], installation_uuid: UUID | None = None) -> Answer:
        return await self.call("PUT", f"operator/installations/{installation_uuid or uuid4()}/", body)

    async def install(self, body: dict[str, Any], installation_uuid: UUID | None = None) -> str:
        """Enrol a copy. Returns its install token."""
        answer = await self.put(body, installation_uuid)
        assert answer.status in (200, 201), answer
        return str(answer.body["install_token"])

    async def register(self, install_token: str, device_token: str, **more: Any) -> Answer:
        return await self.call(
            "PUT",
            "installation/device-token/",
            {"device_token": device_token, **more},
            token=install_token,
        )

    async def tokens(self) -> dict[str, tuple[str, str | None]]:
        """Return all device tokens as (kind, reason of retirement or None), by token in hex."""
        async with self.database.connection() as connection:
            rows = await connection.fetch("SELECT token, kind, retired_reason FROM device_token")
        return {row["token"].hex(): (row["kind"], row["retired_reason"]) for row in rows}


async def open_front(database: Database, *, allow_private: bool = False) -> Front:
    clock = Clock()
    token = await create_operator_token(database, clock, secrets.token_bytes)
    LEAKS.note("an operator's token", token)
    LEAKS.note("a key of the settings", " ".join(KEYS))
    server = TestServer(application(database, clock, allow_private=allow_private))
    await server.start_server(access_log=None)  # as the relay does
    client = TestClient(server, trace_configs=[LEAKS.tracing()])
    return Front(client, clock, database, token)
