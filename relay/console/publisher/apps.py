"""The list of a publisher's apps, an app with its latest pushes, and its settings."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from relay.console.forms import read_form
from relay.console.paging import split_page
from relay.console.paths import app_path
from relay.console.publisher.app_lookup import AppLookup
from relay.console.resources import PageResources
from relay.console.routes import publisher_route
from relay.console.visitors import PublisherVisitor
from relay.core.delivery.outcomes import Outcome
from relay.core.schema import app_id_in_path, uuid_in_path
from relay.http.pagination import page_request
from relay.store.accounts.apps import AppRepository
from relay.store.push.reports import PushReportRepository

_APPS_PER_PAGE = 50
_PUSHES_PER_PAGE = 20


class AppPages:
    """`/console/apps/`."""

    def __init__(self, resources: PageResources) -> None:
        self._renderer = resources.renderer
        self._app_lookup = AppLookup(resources.database)
        self._apps = AppRepository(resources.database)
        self._pushes = PushReportRepository(resources.database)
        self._clock = resources.clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield publisher_route("GET", "apps/", self.list_apps)
        yield publisher_route("GET", "apps/{app_id}/", self.show_app)
        yield publisher_route("GET", "apps/{app_id}/settings/", self.show_settings)
        yield publisher_route("POST", "apps/{app_id}/settings/", self.change_settings)

    async def list_apps(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """List the publisher's apps by app id."""
        after = page_request(request, app_id_in_path).after
        items = await self._apps.list_apps(after or "", _APPS_PER_PAGE + 1, visitor.publisher_id)
        apps, next_query = split_page(request, items, _APPS_PER_PAGE, lambda app: app.app_id)
        return self._renderer.render_page(
            request, "apps.html", section="apps", apps=apps, next_query=next_query, is_start=after is None
        )

    async def show_app(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Show the latest pushes of an app."""
        app = await self._app_lookup.get_app(request, visitor)
        before = page_request(request, uuid_in_path).after
        items = await self._pushes.list_recent_pushes(app.app_id, before, _PUSHES_PER_PAGE + 1)
        pushes, next_query = split_page(request, items, _PUSHES_PER_PAGE, lambda push: push.push_id)
        return self._renderer.render_page(
            request,
            "app.html",
            section="pushes",
            shown_app=app,
            pushes=pushes,
            outcomes=Outcome,
            next_query=next_query,
            is_start=before is None,
        )

    async def show_settings(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Show the settings of an app."""
        app = await self._app_lookup.get_app(request, visitor)
        return self._renderer.render_page(request, "app_settings.html", section="settings", shown_app=app)

    async def change_settings(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Store the settings of an app."""
        app = await self._app_lookup.get_app(request, visitor)
        attach_aliases = "installations_attach_aliases" in await read_form(request)
        await self._apps.change_app(
            visitor.publisher_id, app.app_id, attach_aliases, self._clock.now(), visitor.actor
        )
        return self._renderer.redirect(request, app_path(app.app_id, "settings/"), "The settings were saved.")
