"""The sequence of the demo: start everything, build or reuse the store, show received notifications."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.markup import escape

from apns_standin import ApnsStandIn, ControlClient, StandInPorts
from relay.demo.document import (
    Demo,
    DemoApns,
    DemoApp,
    DemoCopy,
    DemoCustomer,
    DemoDevice,
    read_document,
    write_document,
)
from relay.demo.store import StoreBuilder, relaunch_copy
from relay.node.clock import SystemClock
from relay.node.main import Relay
from relay.settings import (
    ApnsEndpoint,
    ApnsSettings,
    ChannelsSettings,
    DatabaseSettings,
    HttpSettings,
    KeysSettings,
    Settings,
    WebhooksSettings,
)
from relay.store.accounts.api_tokens import create_operator_token
from sdk_stub.device import ReceivedNotification, SimulatedDevice

_console = Console(highlight=False, soft_wrap=True)


async def run_demo(directory: Path, port: int) -> None:
    """Run the demo on `port` with its data in `directory` until SIGTERM or Ctrl-C."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        apns = await stack.enter_async_context(
            ApnsStandIn(
                ports=StandInPorts(
                    production=2197,
                    sandbox=2198,
                    production_channels=2196,
                    sandbox_channels=2195,
                    control=2199,
                    fallback_to_free_port=True,
                ),
                state_file=directory / "apns-state.json",
                ca_file=(directory / "apns-ca.pem").resolve(),
            )
        )
        relay = await Relay.start(_settings(directory, port, apns), stack)
        control = await stack.enter_async_context(ControlClient(apns.control_url))
        http = await stack.enter_async_context(aiohttp.ClientSession(relay.url))
        demo = await _reuse_or_build(directory, relay, apns, control, http)
        write_document(directory / "demo.json", demo)
        devices = [
            (labels, await stack.enter_async_context(await relaunch_copy(labels[3], relay.url, control)))
            for labels in demo.copies()
        ]
        tasks = [asyncio.create_task(_print_notifications(labels, device)) for labels, device in devices]
        _print_greeting(demo, directory)
        await stopped.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _settings(directory: Path, port: int, apns: ApnsStandIn) -> Settings:
    def endpoint(url: str) -> ApnsEndpoint:
        return ApnsEndpoint(host="localhost", port=urlsplit(url).port or 443, ca_file=str(apns.ca_file))

    return Settings(
        http=HttpSettings(port=port),
        database=DatabaseSettings(embedded=str(directory / "postgres")),
        keys=KeysSettings(file=str(directory / "keys.yaml")),
        apns=ApnsSettings(production=endpoint(apns.production_url), sandbox=endpoint(apns.sandbox_url)),
        channels=ChannelsSettings(
            production=endpoint(apns.channels_url("production")),
            sandbox=endpoint(apns.channels_url("sandbox")),
        ),
        webhooks=WebhooksSettings(allow_private=True),
    )


async def _reuse_or_build(
    directory: Path, relay: Relay, apns: ApnsStandIn, control: ControlClient, http: aiohttp.ClientSession
) -> Demo:
    """Return the store of an earlier run if the relay and the stand-in still have its data, else build a new one."""
    urls = DemoApns(
        url=apns.production_url,
        sandbox_url=apns.sandbox_url,
        ca=str(apns.ca_file),
        control=apns.control_url,
    )
    earlier = read_document(directory / "demo.json")
    if earlier is not None and await _is_valid(earlier, control, http):
        earlier.relay, earlier.apns = relay.url, urls
        return earlier
    token = await create_operator_token(relay.database, SystemClock(), secrets.token_bytes, "demo")
    publishers = await StoreBuilder(http, relay.url, token, control).build()
    return Demo(relay=relay.url, apns=urls, operator_token=token, publishers=publishers)


async def _is_valid(demo: Demo, control: ControlClient, http: aiohttp.ClientSession) -> bool:
    headers = {"Authorization": f"Bearer {demo.operator_token}"}
    async with http.get("/v1.0/operator/publishers/", headers=headers) as response:
        if not response.ok:
            return False
    issued = {device["device_token"] for device in await control.devices()}
    return all(copy.device_token in issued for _, _, _, copy in demo.copies())


Labels = tuple[DemoApp, DemoCustomer, DemoDevice, DemoCopy]


async def _print_notifications(labels: Labels, device: SimulatedDevice) -> None:
    async for notification in device.notifications():
        _console.print(_line(labels, notification))


def _line(labels: Labels, notification: ReceivedNotification) -> str:
    app, customer, device, copy = labels
    when = datetime.fromtimestamp(notification.time_ms / 1000).strftime("%H:%M:%S")
    label = f"copy “{copy.alongside}”" if copy.alongside else "copy"
    payload = escape(json.dumps(notification.payload, ensure_ascii=False))
    return (
        f"[dim]{when}[/] [bold cyan]{customer.name}[/]’s {device.name}, {app.name} {label}"
        f" [dim]({copy.environment}, team {copy.team_id})[/] ← {payload}"
    )


def _print_greeting(demo: Demo, directory: Path) -> None:
    app = demo.publishers[0].apps[0]
    customer = app.customers[0]
    body = {
        "app_id": app.app_id,
        "payload": {"aps": {"alert": {"title": "Good morning", "body": "The paper is here."}}},
        "destinations": {customer.id: []},
    }
    _console.print(f"\n[bold]The relay is at {demo.relay}[/] and described at {demo.relay}/v1.0/spec/\n")
    for publisher in demo.publishers:
        for published in publisher.apps:
            people = ", ".join(f"{customer.name} ({_devices(customer)})" for customer in published.customers)
            _console.print(f"  {publisher.name}: {published.name} on {people}")
    _console.print(f"\nSend {customer.name} a push, to every copy on every device:\n")
    _console.print(
        f"curl -sS {demo.relay}/v1.0/send/ -H 'Authorization: Bearer {app.push_token}' "
        f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'",
        markup=False,
    )
    token = customer.devices[0].copies[0].device_token
    _console.print("\nReceived notifications are shown here. The APNs stand-in has them too, for example:\n")
    _console.print(f"curl -sS {demo.apns.control}/devices/{token}/notifications", markup=False)
    _console.print(
        f"\nThe console is at {demo.relay}/console/. These tokens sign in a publisher and the operator:\n"
    )
    for token in (demo.publishers[0].manage_token, demo.operator_token):
        _console.print(token, markup=False)
    _console.print(f"\nAll tokens and identifiers: {directory / 'demo.json'}. Press Ctrl-C to stop.\n")


def _devices(customer: DemoCustomer) -> str:
    return ", ".join(
        device.name + (f" with {len(device.copies)} copies" if len(device.copies) > 1 else "")
        for device in customer.devices
    )
