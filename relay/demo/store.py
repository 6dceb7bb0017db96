"""The store of the demo, built through the API as a real store, its publishers and its apps would do it."""

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
class _PlannedCopy:
    """A copy to install: its customer, its device, and how it is signed."""

    customer: str
    device: str
    alongside: str = ""
    team_id: str = "DEMOTEAM01"
    environment: Environment = Environment.PRODUCTION


STORE: dict[str, dict[str, list[_PlannedCopy]]] = {
    "Morning Press": {
        "News": [
            _PlannedCopy("Anna", "phone"),
            _PlannedCopy("Anna", "phone", "two", "DEMOTEAM02"),
            _PlannedCopy("Anna", "tablet"),
            _PlannedCopy("Bert", "phone"),
        ],
        "Crosswords": [
            _PlannedCopy("Anna", "phone", environment=Environment.SANDBOX),
            _PlannedCopy("Carla", "phone", environment=Environment.SANDBOX),
        ],
    },
    "Tiny Games": {
        "Chess": [
            _PlannedCopy("Bert", "phone", team_id="DEMOTEAM02"),
            _PlannedCopy("Carla", "phone"),
            _PlannedCopy("Carla", "tablet"),
        ],
    },
}
"""Publisher -> app -> copies. Three customers, five devices; Anna's phone has two copies of News side by side."""


class StoreBuilder:
    """A builder of `STORE` in a running relay."""

    def __init__(
        self, http: aiohttp.ClientSession, relay_url: str, operator_token: str, control: ControlClient
    ) -> None:
        self._http = http
        self._relay_url = relay_url
        self._operator_token = operator_token
        self._control = control

    async def build(self) -> list[DemoPublisher]:
        """Build everything, in the order of a real store, and return the publishers."""
        await self._add_credentials()
        return [await self._add_publisher(name, apps) for name, apps in STORE.items()]

    async def _add_credentials(self) -> None:
        keys = {
            (planned.team_id, planned.environment)
            for apps in STORE.values()
            for copies in apps.values()
            for planned in copies
        }
        for team_id, environment in sorted(keys):
            key = await self._control.issue_key(team_id)
            await self._call(
                "POST",
                "/v1.0/operator/credentials/",
                self._operator_token,
                {"team_id": team_id, "environment": environment, "key_id": key.key_id, "p8": key.p8},
            )

    async def _add_publisher(self, name: str, apps: dict[str, list[_PlannedCopy]]) -> DemoPublisher:
        created = await self._call("POST", "/v1.0/operator/publishers/", self._operator_token, {"name": name})
        publisher = DemoPublisher(id=created["id"], name=name, manage_token=created["manage_token"], apps=[])
        for app_name, copies in apps.items():
            publisher.apps.append(await self._add_app(publisher, app_name, copies))
        return publisher

    async def _add_app(self, publisher: DemoPublisher, name: str, copies: list[_PlannedCopy]) -> DemoApp:
        body = {"publisher_id": publisher.id, "name": name}
        app_id = (await self._call("POST", "/v1.0/operator/apps/", self._operator_token, body))["app_id"]
        push_token = await self._call(
            "POST",
            f"/v1.0/apps/{app_id}/tokens/",
            publisher.manage_token,
            {"label": "demo", "broadcast": True},
        )
        app = DemoApp(app_id=app_id, name=name, push_token=push_token["token"], customers=[])
        for planned in copies:
            await self._install_copy(app, planned)
        return app

    async def _install_copy(self, app: DemoApp, planned: _PlannedCopy) -> None:
        """Install a copy, start it, and let it register through the SDK."""
        uuid = uuid4()
        bundle_id = f"store.demo.{app.name.lower()}.{uuid.hex[:8]}"
        udid = _udid(planned)
        enrolled = await self._call(
            "PUT",
            f"/v1.0/operator/installations/{uuid}/",
            self._operator_token,
            {
                "app_id": app.app_id,
                "customer": planned.customer,
                "udid": udid,
                "alongside": planned.alongside,
                "bundle_id": bundle_id,
                "team_id": planned.team_id,
                "environment": planned.environment,
                "app_version": "1.0",
            },
        )
        info = BundleInfo(uuid, planned.team_id, enrolled["install_token"])
        async with SimulatedDevice(self._relay_url, info, self._control) as device:
            await device.launch()
            identity = await device.services.identity()
            assert device.device_token is not None  # launch() has set it
            copy = DemoCopy(
                alongside=planned.alongside,
                bundle_id=bundle_id,
                team_id=planned.team_id,
                environment=planned.environment,
                device_token=device.device_token,
                install_token=enrolled["install_token"],
                installation_uuid=str(uuid),
            )
        _add_to_document(app, identity.customer_id, planned, identity.device_id, udid, copy)

    async def _call(self, method: str, path: str, token: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.request(method, path, json=body, headers=headers) as response:
            if not response.ok:
                raise RuntimeError(f"{method} {path} answered {response.status}")
            return await response.json()


async def relaunch_copy(copy: DemoCopy, relay_url: str, control: ControlClient) -> SimulatedDevice:
    """Start a copy of an earlier run. It registers its known token, so nothing is written."""
    info = BundleInfo(UUID(copy.installation_uuid), copy.team_id, copy.install_token)
    device = SimulatedDevice(relay_url, info, control, device_token=copy.device_token)
    await device.launch()
    return device


def _udid(planned: _PlannedCopy) -> str:
    return hashlib.sha1(f"{planned.customer} {planned.device}".encode(), usedforsecurity=False).hexdigest()


def _add_to_document(
    app: DemoApp, customer_id: str, planned: _PlannedCopy, device_id: str, udid: str, copy: DemoCopy
) -> None:
    """Add a copy to its customer and device in the document."""
    for customer in app.customers:
        if customer.id == customer_id:
            break
    else:
        customer = DemoCustomer(id=customer_id, name=planned.customer, devices=[])
        app.customers.append(customer)
    for device in customer.devices:
        if device.id == device_id:
            break
    else:
        device = DemoDevice(id=device_id, udid=udid, name=planned.device, copies=[])
        customer.devices.append(device)
    device.copies.append(copy)
