"""The app store of a run: two apps with copies on devices, enrolled over the API, and its operator."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from apns_standin import Environment
from chaos.cluster import Cluster

_BULK_SIZE = 1000
_TOKENS = """
INSERT INTO device_token (app_id, installation_id, token, registered_at)
SELECT i.app_id, i.installation_id, decode(g.token, 'hex'), clock_timestamp()
FROM unnest($1::uuid[], $2::text[]) AS g (installation_uuid, token) JOIN installation_app i USING (installation_uuid)
"""
_CUSTOMERS = "SELECT value FROM scoped_identifier WHERE app_id = $1 AND kind = 'c'"
_TIMEOUT = aiohttp.ClientTimeout(60)


@dataclass
class Copy:
    """A copy of an app on a device, with the public ids of its customer and device."""

    uuid: UUID
    install_token: str
    customer: str
    device: str


@dataclass
class ChaosApp:
    """An app. `customers` are the c_ of its first copies, `copies` those that are installed in the run."""

    app_id: str
    push_token: str
    team_id: str
    environment: Environment
    bundle_id: str
    customers: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)


class ChaosApi:
    """The relay's API at any of its nodes."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance

    async def call(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, Any]:
        """Try once at a random node, and return (status, answer), with status 0 if no answer came."""
        node = self._chance.choice(self._cluster.nodes)
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._cluster.http.request(
                method, node.url + path, headers=headers, json=body, timeout=_TIMEOUT
            ) as response:
                return response.status, await response.json(
                    content_type=None
                ) if response.status != 204 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):  # ValueError: the answer broke off
            return 0, None

    async def until_done(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, Any]:
        """Try until the relay has processed or refused the request, and return (status, answer)."""
        while True:
            status, answer = await self.call(method, path, token, body)
            if status and status < 500 and status != 429:
                return status, answer
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

    async def must(self, method: str, path: str, token: str, body: Any = None) -> Any:
        """Try until the relay has processed the request, and return its answer. Raises RuntimeError if it refuses."""
        status, answer = await self.until_done(method, path, token, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path} answered {status}: {answer}")
        return answer


class ChaosStore:
    """The actions of the store, its operator and its devices."""

    def __init__(self, cluster: Cluster, api: ChaosApi, chance: random.Random) -> None:
        self._cluster = cluster
        self._api = api
        self._chance = chance
        self._operator = cluster.operator_token
        self._serial = 0

    async def open(self, large: int, small: int) -> tuple[ChaosApp, ChaosApp]:
        """Create an app in production with `large` copies, and one in the sandbox with `small`, of different teams."""
        publisher = await self._api.must(
            "POST", "/v1.0/operator/publishers/", self._operator, {"name": "Chaos"}
        )
        first = await self._add_app(publisher, "CHAOSTEAM1", "production", "store.chaos.large")
        second = await self._add_app(publisher, "CHAOSTEAM2", "sandbox", "store.chaos.small")
        await self._fill(first, large)
        await self._fill(second, small)
        return first, second

    async def install(self, app: ChaosApp) -> Copy:
        """Enrol a copy of the app for a new customer, register its device token, and return the copy."""
        uuid, body = self._enrolment(app)
        enrolled = await self._api.must("PUT", f"/v1.0/operator/installations/{uuid}/", self._operator, body)
        install_token = enrolled["install_token"]
        identity = await self._api.must("GET", "/v1.0/installation/", install_token)
        copy = Copy(uuid, install_token, identity["customer_id"], identity["device_id"])
        await self.register(app, copy)
        return copy

    async def register(self, app: ChaosApp, copy: Copy) -> None:
        """Issue a new device token and register it for the copy."""
        token = await self._cluster.apns.issue_device_token(app.bundle_id, app.team_id, app.environment)
        await self._api.must(
            "PUT", "/v1.0/installation/device-token/", copy.install_token, {"device_token": token}
        )

    async def remove(self, copy: Copy) -> None:
        """Retire the copy as the store."""
        await self._api.must("DELETE", f"/v1.0/operator/installations/{copy.uuid}/", self._operator)

    async def resume_credentials(self) -> int:
        """Resume the suspended credentials, and return their number."""
        status, page = await self._api.call("GET", "/v1.0/operator/credentials/", self._operator)
        credentials = page["items"] if status == 200 else []
        suspended = [credential["id"] for credential in credentials if credential["state"] == "suspended"]
        for credential_id in suspended:
            await self._api.until_done(
                "POST", f"/v1.0/operator/credentials/{credential_id}/resume/", self._operator
            )
        return len(suspended)

    async def _add_app(
        self, publisher: dict[str, str], team_id: str, environment: Environment, bundle_id: str
    ) -> ChaosApp:
        key = await self._cluster.apns.issue_key(team_id)
        credential = {"team_id": team_id, "environment": environment, "key_id": key.key_id, "p8": key.p8}
        await self._api.must("POST", "/v1.0/operator/credentials/", self._operator, credential)
        body = {"publisher_id": publisher["id"], "name": bundle_id}
        app_id = (await self._api.must("POST", "/v1.0/operator/apps/", self._operator, body))["app_id"]
        path = f"/v1.0/apps/{app_id}/tokens/"
        token = {"label": "chaos", "broadcast": True}
        answer = await self._api.must("POST", path, publisher["manage_token"], token)
        return ChaosApp(app_id, answer["token"], team_id, environment, bundle_id)

    async def _fill(self, app: ChaosApp, count: int) -> None:
        """Enrol copies in bulk. Their device tokens go straight to the database: over the API each takes a request."""
        connection = await asyncpg.connect(self._cluster.postgres.url())
        try:
            for start in range(0, count, _BULK_SIZE):
                copies = dict(self._enrolment(app) for _ in range(min(_BULK_SIZE, count - start)))
                body = [{"installation_uuid": str(uuid), **copy} for uuid, copy in copies.items()]
                await self._api.must(
                    "POST", "/v1.0/operator/installations/", self._operator, {"installations": body}
                )
                tokens = await self._cluster.apns.issue_device_tokens(
                    len(copies), app.bundle_id, app.team_id, app.environment
                )
                await connection.execute(_TOKENS, list(copies), tokens)
            app.customers = [row[0] for row in await connection.fetch(_CUSTOMERS, app.app_id)]
        finally:
            await connection.close()

    def _enrolment(self, app: ChaosApp) -> tuple[UUID, dict[str, Any]]:
        self._serial += 1
        uuid = UUID(int=self._chance.getrandbits(128), version=4)
        return uuid, {
            "app_id": app.app_id,
            "customer": f"chaos-{self._serial}",
            "udid": f"{self._serial:040x}",
            "bundle_id": app.bundle_id,
            "team_id": app.team_id,
            "environment": app.environment,
            "app_version": "1.0",
        }
