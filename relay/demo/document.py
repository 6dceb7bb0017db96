"""The document `var/demo.json`: all names, identifiers and tokens of the demo. A second run continues from it."""

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
    """A device as one app sees it: `id` is its d_… in that app."""

    id: str
    udid: str
    name: str
    copies: list[DemoCopy]


class DemoCustomer(msgspec.Struct, kw_only=True):
    """A customer as one app sees them: `id` is their c_… in that app."""

    id: str
    name: str
    devices: list[DemoDevice]


class DemoApp(msgspec.Struct, kw_only=True):
    """An app with its push token."""

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
    """The URLs of the APNs stand-in: `url` stands for production, `ca` is the path of its CA certificate."""

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
        """Return every copy with its app, customer and device."""
        return [
            (app, customer, device, copy)
            for publisher in self.publishers
            for app in publisher.apps
            for customer in app.customers
            for device in customer.devices
            for copy in device.copies
        ]


def read_document(path: Path) -> Demo | None:
    """Return the document of an earlier run, or None."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Demo)
    except (OSError, msgspec.DecodeError):
        return None


def write_document(path: Path, demo: Demo) -> None:
    """Write the document, readable only by its owner: it holds all tokens of the demo."""
    body = msgspec.json.format(msgspec.json.encode(demo), indent=2)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body + b"\n")
    temporary.replace(path)
