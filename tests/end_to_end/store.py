"""A small app store for tests. Everything goes through the API, as operator, publisher and app use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from apns_standin import ApnsStandIn
from tests.eventually import eventually

PATIENCE = 60.0
"""Seconds until a test gives up. Generous, because a busy machine is no failure."""
ALERT = {"aps": {"alert": {"title": "secret-text-of-a-push", "body": "…"}}}


@dataclass
class App:
    app_id: str
    push_token: str
    publisher: Publisher


@dataclass
class Publisher:
    publisher_id: str
    manage_token: str


@dataclass
class Copy:
    """An installed copy with the identifiers that its device knows."""

    app: App
    uuid: str
    install_token: str
    customer: str
    device: str
    device_token: str


class Store:
    def __init__(self, http: aiohttp.ClientSession, apns: ApnsStandIn, operator_token: str) -> None:
        self.http = http
        self.apns = apns
        self.operator_token = operator_token
        self._teams: set[tuple[str, str]] = set()
        self.rights: dict[str, Any] = {"broadcast": True}
        """Fields of the push tokens of new apps."""

    async def call(self, method: str, path: str, token: str | None, body: Any = None, **options: Any) -> Any:
        """Send a request and return (status, parsed body)."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            options["json"] = body
        async with self.http.request(method, path, headers=headers, **options) as response:
            return response.status, await response.json(content_type=None) if response.status != 204 else None

    async def must(self, method: str, path: str, token: str, body: Any = None) -> Any:
        status, answer = await self.call(method, path, token, body)
        assert status < 300, answer
        return answer

    async def publisher(self) -> Publisher:
        created = await self.must("POST", "/v1.0/operator/publishers/", self.operator_token, {"name": "P"})
        return Publisher(created["id"], created["manage_token"])

    async def app(self, publisher: Publisher | None = None, **fields: Any) -> App:
        publisher = publisher or await self.publisher()
        body = {"publisher_id": publisher.publisher_id, "name": "A", **fields}
        app_id = (await self.must("POST", "/v1.0/operator/apps/", self.operator_token, body))["app_id"]
        return App(app_id, await self.push_token(publisher, app_id, **self.rights), publisher)

    async def push_token(self, publisher: Publisher, app_id: str, **fields: Any) -> str:
        created = await self.must("POST", f"/v1.0/apps/{app_id}/tokens/", publisher.manage_token, fields)
        return str(created["token"])

    async def credential(self, team_id: str, environment: str) -> None:
        if (team_id, environment) in self._teams:
            return
        self._teams.add((team_id, environment))
        key = self.apns.issue_key(team_id)
        body = {"team_id": team_id, "environment": environment, "key_id": key.key_id, "p8": key.p8}
        await self.must("POST", "/v1.0/operator/credentials/", self.operator_token, body)

    async def copy(
        self,
        app: App,
        customer: str,
        udid: str,
        alongside: str = "",
        *,
        team_id: str = "TEAM000001",
        environment: str | None = "production",
        register: bool = True,
    ) -> Copy:
        """Install a copy on a device and, with `register`, register its device token."""
        await self.credential(team_id, environment or "production")
        bundle_id = f"com.example.{uuid4().hex}"
        body = {
            "app_id": app.app_id,
            "customer": f"secret-customer-{customer}",
            "udid": udid.ljust(40, "0"),
            "alongside": alongside,
            "bundle_id": bundle_id,
            "team_id": team_id,
            "environment": environment,
            "app_version": "1.0",
        }
        uuid = str(uuid4())
        enrolled = await self.must("PUT", f"/v1.0/operator/installations/{uuid}/", self.operator_token, body)
        token = enrolled["install_token"]
        installation = await self.must("GET", "/v1.0/installation/", token)
        issued = self.apns.issue_device_token(bundle_id, team_id, environment or "production").token
        if register:
            await self.must("PUT", "/v1.0/installation/device-token/", token, {"device_token": issued})
        return Copy(app, uuid, token, installation["customer_id"], installation["device_id"], issued)

    async def send(
        self, app: App, destinations: Any, payload: Any = ALERT, token: str | None = None, **fields: Any
    ) -> tuple[int, Any]:
        body = {"app_id": app.app_id, "payload": payload, "destinations": destinations, **fields}
        answer: tuple[int, Any] = await self.call("POST", "/v1.0/send/", token or app.push_token, body)
        return answer

    async def post(self, app: App, customer: str) -> aiohttp.ClientResponse:
        """Send to one customer and return the answer, for its status and headers."""
        headers = {"Authorization": f"Bearer {app.push_token}"}
        body = {"app_id": app.app_id, "payload": ALERT, "destinations": {customer: []}}
        async with self.http.post("/v1.0/send/", json=body, headers=headers) as response:
            await response.read()
            return response

    async def push(self, app: App, destinations: Any, payload: Any = ALERT, **fields: Any) -> dict[str, Any]:
        """Send, wait until the push is done, and return its page."""
        status, answer = await self.send(app, destinations, payload, **fields)
        assert status == 202, answer
        return await self.done(app, answer["push_id"])

    async def page(self, app: App, push_id: str) -> dict[str, Any]:
        page: dict[str, Any] = await self.must("GET", f"/v1.0/pushes/{push_id}/", app.push_token)
        return page

    async def done(self, app: App, push_id: str) -> dict[str, Any]:
        return await self.until(app, push_id, lambda page: page["state"] == "done")

    async def until(self, app: App, push_id: str, holds: Any) -> dict[str, Any]:
        async def page_that_holds() -> dict[str, Any]:
            page = await self.page(app, push_id)
            assert holds(page), page
            return page

        return await eventually(page_that_holds, poll_seconds=0.02)

    async def received(self, *copies: Copy) -> list[int]:
        """Return the number of received notifications for each copy."""
        return [len(await self.apns.notifications(copy.device_token)) for copy in copies]

    async def token_state(self, copy: Copy) -> bool:
        """Return True if a push to the device of that copy has a target."""
        _, answer = await self.send(copy.app, {copy.customer: [copy.device]}, debug=False)
        return not answer["warnings"]
