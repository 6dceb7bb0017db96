"""The publisher's test devices, and how each is to behave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from aiohttp import web

from relay.console.publisher.app_lookup import OwnApps, path_of
from relay.console.renderer import Pages, faults_of, next_page
from relay.console.sessions import PublisherVisitor, form_as, publisher_page, read_form
from relay.core.delivery.outcomes import FailureDomain
from relay.core.errors import Conflict, Invalid, RelayError
from relay.core.schema import uuid_in_path
from relay.http.pagination import page_request
from relay.service.test_devices import TestDeviceBody, TestDeviceChange, TestDeviceService
from relay.store.accounts.apps import App
from relay.store.database import Database

_LIST = "apps/{app_id}/test-devices/"
_DEVICES = 50
"""How many a page shows."""
_NOTHING: Mapping[str, str] = {}


class Domain(NamedTuple):
    """A failure domain in a few words, and what follows from it."""

    name: str
    outcome: str


DOMAINS: Final[Mapping[str, Domain]] = {
    FailureDomain.OK: Domain("Works", "Pushes go to Apple, as to every other device."),
    FailureDomain.UNREGISTERED: Domain(
        "App removed",
        "410 Unregistered, as after somebody deleted the app. It ends as unregistered; your device keeps its token.",
    ),
    FailureDomain.BAD_DEVICE_TOKEN: Domain(
        "Bad device token",
        "400 BadDeviceToken, as for a token of the wrong environment. It fails; your device keeps its token.",
    ),
    FailureDomain.THROTTLED: Domain(
        "Throttled", "429 TooManyRequests. The push is tried again, later each time, until it expires."
    ),
    FailureDomain.UNAVAILABLE: Domain(
        "Apple is down", "503 ServiceUnavailable. The push is tried again, later each time, until it expires."
    ),
    FailureDomain.SLOW: Domain("Slow", "The answer takes ten seconds, and then the push is delivered."),
}
"""By the names of the API. Apple is asked for `ok` alone: the others are played by the relay."""


class TestDevicePages:
    """`/console/apps/{app_id}/test-devices/`. The list is the same for all apps of a publisher."""

    __test__ = False  # not a test, whatever pytest thinks of its name

    def __init__(self, pages: Pages, database: Database, test_devices: TestDeviceService) -> None:
        self._pages = pages
        self._own_apps = OwnApps(database)
        self._test_devices = test_devices

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield publisher_page("GET", _LIST, self.list_devices)
        yield publisher_page("POST", _LIST, self.add)
        yield publisher_page("POST", f"{_LIST}{{test_device_id}}/", self.change)
        yield publisher_page("POST", f"{_LIST}{{test_device_id}}/remove/", self.remove)

    async def list_devices(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """The listed devices, oldest first, and the form for another one."""
        return await self._list(request, visitor, await self._own_apps.of(request, visitor))

    async def add(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """List a device."""
        app = await self._own_apps.of(request, visitor)
        form = await read_form(request)
        try:
            body = form_as({**form, "udid": form.get("udid", "").strip()}, TestDeviceBody)
            device = await self._test_devices.add_test_device(visitor.caller, body)
        except (Invalid, Conflict) as refused:
            return await self._list(request, visitor, app, form, refused)
        said = f"{device.label} is a test device now."
        return self._pages.redirect(request, path_of(app, "test-devices/"), said)

    async def change(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Give a device another label or failure domain."""
        app = await self._own_apps.of(request, visitor)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        form = await read_form(request)
        try:
            body = form_as(form, TestDeviceChange)
        except Invalid as refused:
            return await self._list(request, visitor, app, form, refused, wrong=str(test_device_id))
        device = await self._test_devices.change_test_device(visitor.caller, test_device_id, body)
        said = f"{device.label}: {DOMAINS[device.failure_domain].name.lower()}."
        return self._pages.redirect(request, path_of(app, "test-devices/"), said)

    async def remove(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Take a device off the list."""
        app = await self._own_apps.of(request, visitor)
        test_device_id = uuid_in_path(request.match_info["test_device_id"])
        await self._test_devices.remove_test_device(visitor.caller, test_device_id)
        return self._pages.redirect(request, path_of(app, "test-devices/"), "The device is off the list.")

    async def _list(
        self,
        request: web.Request,
        visitor: PublisherVisitor,
        app: App,
        form: Mapping[str, str] = _NOTHING,
        refused: RelayError | None = None,
        wrong: str = "",
    ) -> web.StreamResponse:
        """`form` is what was typed, `refused` why that can't be, of the listed device `wrong`; "": of another one."""
        after = page_request(request, uuid_in_path).after
        found = await self._test_devices.list_test_devices(visitor.publisher_id, after, _DEVICES + 1)
        devices, more = next_page(request, found, _DEVICES, lambda device: device.test_device_id)
        return self._pages.render(
            request,
            "test_devices.html",
            refused.status if refused else 200,
            section="test-devices",
            shown_app=app,
            devices=devices,
            more=more,
            is_start=after is None,
            domains=DOMAINS,
            form=_NOTHING if wrong else form,
            faults={} if refused is None or wrong else faults_of(refused),
            wrong=wrong,
            wrong_faults=faults_of(refused) if refused and wrong else {},
        )
