"""The publisher's apps: all of them, one with its latest pushes, and what can be set about it."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from relay.console.publisher.app_lookup import OwnApps, path_of
from relay.console.renderer import Pages, next_page
from relay.console.sessions import PublisherVisitor, publisher_page, read_form
from relay.core.clock import Clock
from relay.core.delivery.outcomes import Outcome
from relay.core.schema import app_id_in_path, uuid_in_path
from relay.http.pagination import page_request
from relay.store.accounts.apps import AppRepository
from relay.store.database import Database
from relay.store.push.reports import PushReportRepository

_APPS, _PUSHES = 50, 20
"""How many a page shows."""


class AppPages:
    """`/console/apps/`."""

    def __init__(self, pages: Pages, database: Database, clock: Clock) -> None:
        self._pages = pages
        self._own_apps = OwnApps(database)
        self._apps = AppRepository(database)
        self._pushes = PushReportRepository(database)
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield publisher_page("GET", "apps/", self.list_apps)
        yield publisher_page("GET", "apps/{app_id}/", self.home)
        yield publisher_page("GET", "apps/{app_id}/settings/", self.settings)
        yield publisher_page("POST", "apps/{app_id}/settings/", self.change)

    async def list_apps(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """The publisher's apps, in the order of their identifiers."""
        after = page_request(request, app_id_in_path).after
        found = await self._apps.list_apps(after or "", _APPS + 1, visitor.publisher_id)
        apps, more = next_page(request, found, _APPS, lambda app: app.app_id)
        return self._pages.render(
            request, "apps.html", section="apps", apps=apps, more=more, is_start=after is None
        )

    async def home(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """An app with its latest pushes."""
        app = await self._own_apps.of(request, visitor)
        before = page_request(request, uuid_in_path).after
        found = await self._pushes.list_recent_pushes(app.app_id, before, _PUSHES + 1)
        pushes, more = next_page(request, found, _PUSHES, lambda push: push.push_id)
        return self._pages.render(
            request,
            "app.html",
            section="pushes",
            shown_app=app,
            pushes=pushes,
            outcomes=Outcome,
            more=more,
            is_start=before is None,
        )

    async def settings(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """What can be set about an app."""
        app = await self._own_apps.of(request, visitor)
        return self._pages.render(request, "app_settings.html", section="settings", shown_app=app)

    async def change(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Set it."""
        app = await self._own_apps.of(request, visitor)
        attach_aliases = "installations_attach_aliases" in await read_form(request)
        await self._apps.change_app(
            visitor.publisher_id, app.app_id, attach_aliases, self._clock.now(), visitor.actor
        )
        return self._pages.redirect(request, path_of(app, "settings/"), "Saved.")
