"""The test devices of a publisher, and the failure domain of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from aiohttp import web

from relay.console.forms import EMPTY_FORM, convert_form, faults_by_field, read_form
from relay.console.paging import split_page
from relay.console.paths import app_path
from relay.console.publisher.app_lookup import AppLookup
from relay.console.resources import PageResources
from relay.console.routes import publisher_route
from relay.console.visitors import PublisherVisitor
from relay.core.delivery.outcomes import FailureDomain
from relay.core.errors import Conflict, Invalid, RelayError
from relay.core.schema import uuid_in_path
from relay.http.pagination import page_request
from relay.service.test_devices import TestDeviceBody, TestDeviceChange, TestDeviceService
from relay.store.accounts.apps import App

_LIST = "apps/{app_id}/test-devices/"
_DEVICES_PER_PAGE = 50


class FailureDomainText(NamedTuple):
    """The name of a failure domain on pages, and its effect."""

    name: str
    effect: str


FAILURE_DOMAIN_TEXTS: Final[Mapping[str, FailureDomainText]] = {
    FailureDomain.OK: FailureDomainText("Works", "Pushes go to Apple, as for every other device."),
    FailureDomain.UNREGISTERED: FailureDomainText(
        "App removed",
        "410 Unregistered, as if the app had been deleted. The push ends as unregistered; the device keeps its token.",
    ),
    FailureDomain.BAD_DEVICE_TOKEN: FailureDomainText(
        "Bad device token",
        "400 BadDeviceToken, as for a token of the wrong environment. The push fails; the device keeps its token.",
    ),
    FailureDomain.THROTTLED: FailureDomainText(
        "Throttled",
        "429 TooManyRequests. The relay retries with growing pauses until the push expires.",
    ),
    FailureDomain.UNAVAILABLE: FailureDomainText(
        "Apple is down",
        "503 ServiceUnavailable. The relay retries with growing pauses until the push expires.",
    ),
    FailureDomain.SLOW: FailureDomainText(
        "Slow", "The answer takes ten seconds; then the push is delivered."
    ),
}
"""By the names of the API. Only `ok` sends to Apple: the relay simulates the others."""


class TestDevicePages:
    """`/console/apps/{app_id}/test-devices/`. The list is shared by all apps of a publisher."""

    def __init__(self, resources: PageResources, test_devices: TestDeviceService) -> None:
        self._renderer = resources.renderer
        self._app_lookup = AppLookup(resources.database)
        self._test_devices = test_devices

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield publisher_route("GET", _LIST, self.list_test_devices)
        yield publisher_route("POST", _LIST, self.add_test_device)
        yield publisher_route("POST", f"{_LIST}{{test_device_id}}/", self.change_test_device)
        yield publisher_route("POST", f"{_LIST}{{test_device_id}}/remove/", self.remove_test_device)

    async def list_test_devices(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """List the test devices, oldest first, with a form for a new one."""
        return await self._render_list(request, visitor, await self._app_lookup.get_app(request, visitor))

    async def add_test_device(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Add a device to the list."""
        app = await self._app_lookup.get_app(request, visitor)
        form = await read_form(request)
        try:
            body = convert_form({**form, "udid": form.get("udid", "").strip()}, TestDeviceBody)
            device = await self._test_devices.add_test_device(visitor.token, body)
        except (Invalid, Conflict) as refusal:
            return await self._render_list(request, visitor, app, form, refusal)
        return self._redirect_to_list(request, app, f"{device.label} is now a test device.")

    async def change_test_device(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Change the label or the failure domain of a device."""
        app = await self._app_lookup.get_app(request, visitor)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        form = await read_form(request)
        try:
            body = convert_form(form, TestDeviceChange)
        except Invalid as refusal:
            return await self._render_list(request, visitor, app, form, refusal, str(test_device_id))
        device = await self._test_devices.change_test_device(visitor.token, test_device_id, body)
        text = FAILURE_DOMAIN_TEXTS[device.failure_domain].name.lower()
        return self._redirect_to_list(request, app, f"{device.label}: {text}.")

    async def remove_test_device(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Remove a device from the list."""
        app = await self._app_lookup.get_app(request, visitor)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        await self._test_devices.remove_test_device(visitor.token, test_device_id)
        return self._redirect_to_list(request, app, "The test device was removed.")

    def _redirect_to_list(self, request: web.Request, app: App, message: str) -> web.StreamResponse:
        return self._renderer.redirect(request, app_path(app.app_id, "test-devices/"), message)

    async def _render_list(
        self,
        request: web.Request,
        visitor: PublisherVisitor,
        app: App,
        form: Mapping[str, str] = EMPTY_FORM,
        refusal: RelayError | None = None,
        refused_device_id: str = "",
    ) -> web.StreamResponse:
        """Render the list. `form` holds what was typed if `refusal` refused it.

        `refused_device_id` names the device that the form was about; "" stands for a new one.
        """
        after = page_request(request, uuid_in_path).after
        items = await self._test_devices.list_test_devices(visitor.publisher_id, after, _DEVICES_PER_PAGE + 1)
        devices, next_query = split_page(
            request, items, _DEVICES_PER_PAGE, lambda device: device.test_device_id
        )
        faults = faults_by_field(refusal) if refusal else {}
        return self._renderer.render_page(
            request,
            "test_devices.html",
            refusal.status if refusal else 200,
            section="test-devices",
            shown_app=app,
            devices=devices,
            next_query=next_query,
            is_start=after is None,
            domains=FAILURE_DOMAIN_TEXTS,
            form=EMPTY_FORM if refused_device_id else form,
            faults={} if refused_device_id else faults,
            refused_device_id=refused_device_id,
            device_faults=faults if refused_device_id else {},
        )
