"""`/v1.0/test-devices/`: a publisher's test devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.core.schema import convert, uuid_in_path
from relay.http.authentication import authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.test_devices import TestDeviceBody, TestDeviceChange, TestDeviceService
from relay.store.accounts.api_tokens import ManageToken
from relay.store.accounts.test_devices import TestDevice


class TestDevicesApi:
    """Endpoints of a publisher for its list of test devices."""

    def __init__(self, test_devices: TestDeviceService) -> None:
        self._test_devices = test_devices

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("POST", "/v1.0/test-devices/", self.add_test_device)
        yield from route("GET", "/v1.0/test-devices/", self.list_test_devices)
        yield from route("PATCH", "/v1.0/test-devices/{test_device_id}/", self.change_test_device)
        yield from route("DELETE", "/v1.0/test-devices/{test_device_id}/", self.remove_test_device)

    async def add_test_device(self, request: web.Request) -> web.Response:
        """`POST /v1.0/test-devices/`: 201 and the device; 409 if it is listed already."""
        owner = await authenticate(request, ManageToken)
        body = convert(await read_json(request), TestDeviceBody)
        return answer(_show_test_device(await self._test_devices.add_test_device(owner, body)), 201)

    async def list_test_devices(self, request: web.Request) -> web.Response:
        """`GET /v1.0/test-devices/`: 200 and a page of the publisher's test devices, oldest first."""
        owner = await authenticate(request, ManageToken)
        page = page_request(request, uuid_in_path)
        devices = await self._test_devices.list_test_devices(owner.publisher_id, page.after, page.one_more)
        return page_answer(page, devices, lambda device: device.test_device_id, _show_test_device)

    async def change_test_device(self, request: web.Request) -> web.Response:
        """`PATCH /v1.0/test-devices/{test_device_id}/`: 200 and the device with its new label or failure domain."""
        owner = await authenticate(request, ManageToken)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        change = convert(await read_json(request), TestDeviceChange)
        device = await self._test_devices.change_test_device(owner, test_device_id, change)
        return answer(_show_test_device(device))

    async def remove_test_device(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/test-devices/{test_device_id}/`: 204, and the device is off the list."""
        owner = await authenticate(request, ManageToken)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        await self._test_devices.remove_test_device(owner, test_device_id)
        return web.Response(status=204)


def _show_test_device(device: TestDevice) -> dict[str, Any]:
    return {
        "id": device.test_device_id,
        "label": device.label,
        "failure_domain": device.failure_domain,
        "created_at": device.created_at,
    }
