"""The demo's store: sets itself up through the API, as a real store, its publishers and its apps would."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from apns_standin import ControlClient
from relay.core.accounts import Environment
from relay.demo.document import DemoApp, DemoCopy, DemoCustomer, DemoDevice, DemoPublisher
from sdk_stub.client import BundleInfo
from sdk_stub.device import SimulatedDevice


@dataclass(frozen=True)
class _Install:
    """One copy to be installed: whose, on what, and how it is signed."""

    customer: str
    device: str
    alongside: str = ""
    team_id: str = "DEMOTEAM01"
    environment: Environment = Environment.PRODUCTION


STORE: dict[str, dict[str, list[_Install]]] = {
    "Morning Press": {
        "News": [
            _Install("Anna", "phone"),
            _Install("Anna", "phone", "two", "DEMOTEAM02"),
            _Install("Anna", "tablet"),
            _Install("Bert", "phone"),
        ],
        "Crosswords": [
            _Install("Anna", "phone", environment=Environment.SANDBOX),
            _Install("Carla", "phone", environment=Environment.SANDBOX),
        ],
    },
    "Tiny Games": {
        "Chess": [
            _Install("Bert", "phone", team_id="DEMOTEAM02"),
            _Install("Carla", "phone"),
            _Install("Carla", "tablet"),
        ],
    },
}
"""Publisher -> app -> copies. Three customers, five devices; Anna's phone has two copies of News side by side."""


class StoreBuilder:
    """Builds the store of `STORE` in a running relay."""

    def __init__(
        self, http: aiohttp.ClientSession, relay_url: str, operator_token: str, control: ControlClient
    ) -> None:
        self._http = http
        self._relay_url = relay_url
        self._operator_token = operator_token
        self._control = control

    async def build(self) -> list[DemoPublisher]:
        """Everything, in the order in which it happens in real life."""
        await self._add_credentials()
        return [await self._add_publisher(name, apps) for name, apps in STORE.items()]

    async def _add_credentials(self) -> None:
        wanted = {
            (one.team_id, one.environment)
            for apps in STORE.values()
            for copies in apps.values()
            for one in copies
        }
        for team_id, environment in sorted(wanted):
            key = await self._control.issue_key(team_id)
            await self._call(
                "POST",
                "/v1.0/operator/credentials/",
                self._operator_token,
                {"team_id": team_id, "environment": environment, "key_id": key.key_id, "p8": key.p8},
            )

    async def _add_publisher(self, name: str, apps: dict[str, list[_Install]]) -> DemoPublisher:
        made = await self._call("POST", "/v1.0/operator/publishers/", self._operator_token, {"name": name})
        publisher = DemoPublisher(id=made["id"], name=name, manage_token=made["manage_token"], apps=[])
        for app_name, copies in apps.items():
            publisher.apps.append(await self._add_app(publisher, app_name, copies))
        return publisher

    async def _add_app(self, publisher: DemoPublisher, name: str, copies: list[_Install]) -> DemoApp:
        body = {"publisher_id": publisher.id, "name": name}
        app_id = (await self._call("POST", "/v1.0/operator/apps/", self._operator_token, body))["app_id"]
        made = await self._call(
            "POST",
            f"/v1.0/apps/{app_id}/tokens/",
            publisher.manage_token,
            {"label": "demo", "broadcast": True},
        )
        app = DemoApp(app_id=app_id, name=name, push_token=made["token"], customers=[])
        for one in copies:
            await self._install(app, one)
        return app

    async def _install(self, app: DemoApp, one: _Install) -> None:
        """The store installs a copy; the copy starts and registers itself through the SDK."""
        uuid = uuid4()
        bundle_id = f"store.demo.{app.name.lower()}.{uuid.hex[:8]}"
        udid = _udid(one)
        made = await self._call(
            "PUT",
            f"/v1.0/operator/installations/{uuid}/",
            self._operator_token,
            {
                "app_id": app.app_id,
                "customer": one.customer,
                "udid": udid,
                "alongside": one.alongside,
                "bundle_id": bundle_id,
                "team_id": one.team_id,
                "environment": one.environment,
                "app_version": "1.0",
            },
        )
        info = BundleInfo(uuid, one.team_id, made["install_token"])
        async with SimulatedDevice(self._relay_url, info, self._control) as device:
            await device.launch()
            identity = await device.services.identity()
            assert device.device_token is not None  # launch() has set it
            copy = DemoCopy(
                alongside=one.alongside,
                bundle_id=bundle_id,
                team_id=one.team_id,
                environment=one.environment,
                device_token=device.device_token,
                install_token=made["install_token"],
                installation_uuid=str(uuid),
            )
        _file(app, identity.customer_id, one, identity.device_id, udid, copy)

    async def _call(self, method: str, path: str, token: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.request(method, path, json=body, headers=headers) as response:
            if not response.ok:
                raise RuntimeError(f"{method} {path} answered {response.status}")
            return await response.json()


async def launch_again(copy: DemoCopy, relay_url: str, control: ControlClient) -> SimulatedDevice:
    """A copy of an earlier run starts: it registers the token it has, which writes nothing."""
    info = BundleInfo(UUID(copy.installation_uuid), copy.team_id, copy.install_token)
    device = SimulatedDevice(relay_url, info, control, device_token=copy.device_token)
    await device.launch()
    return device


def _udid(one: _Install) -> str:
    return hashlib.sha1(f"{one.customer} {one.device}".encode(), usedforsecurity=False).hexdigest()


def _file(app: DemoApp, customer_id: str, one: _Install, device_id: str, udid: str, copy: DemoCopy) -> None:
    """Put a copy under its customer and device in the document."""
    for customer in app.customers:
        if customer.id == customer_id:
            break
    else:
        customer = DemoCustomer(id=customer_id, name=one.customer, devices=[])
        app.customers.append(customer)
    for device in customer.devices:
        if device.id == device_id:
            break
    else:
        device = DemoDevice(id=device_id, udid=udid, name=one.device, copies=[])
        customer.devices.append(device)
    device.copies.append(copy)
