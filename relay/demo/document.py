"""`var/demo.json`: who is who in the demo, with the real values. Also how a second run finds its data again."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class DemoCopy(msgspec.Struct, kw_only=True):
    """One installed copy of an app on a device."""

    alongside: str
    bundle_id: str
    team_id: str
    environment: str
    device_token: str
    install_token: str
    installation_uuid: str


class DemoDevice(msgspec.Struct, kw_only=True):
    """A device as one app knows it: `id` is its d_… there."""

    id: str
    udid: str
    name: str
    copies: list[DemoCopy]


class DemoCustomer(msgspec.Struct, kw_only=True):
    """A customer as one app knows them: `id` is their c_… there."""

    id: str
    name: str
    devices: list[DemoDevice]


class DemoApp(msgspec.Struct, kw_only=True):
    """An app with a push token of its own."""

    app_id: str
    name: str
    push_token: str
    customers: list[DemoCustomer]


class DemoPublisher(msgspec.Struct, kw_only=True):
    """A publisher with its manage token."""

    id: str
    name: str
    manage_token: str
    apps: list[DemoApp]


class DemoApns(msgspec.Struct, kw_only=True):
    """Where the stand-in is: `url` plays production."""

    url: str
    sandbox_url: str
    ca: str
    control: str


class Demo(msgspec.Struct, kw_only=True):
    """The whole document."""

    relay: str
    apns: DemoApns
    operator_token: str
    publishers: list[DemoPublisher]

    def copies(self) -> list[tuple[DemoApp, DemoCustomer, DemoDevice, DemoCopy]]:
        """Every copy with what it belongs to."""
        return [
            (app, customer, device, copy)
            for publisher in self.publishers
            for app in publisher.apps
            for customer in app.customers
            for device in customer.devices
            for copy in device.copies
        ]


def read(path: Path) -> Demo | None:
    """The document of an earlier run, or None."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Demo)
    except (OSError, msgspec.DecodeError):
        return None


def write(path: Path, demo: Demo) -> None:
    """Write the document so that only its owner can read it: it holds every token of the demo."""
    body = msgspec.json.format(msgspec.json.encode(demo), indent=2)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body + b"\n")
    temporary.replace(path)
