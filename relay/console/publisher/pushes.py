"""A push with its progress, failures and timelines, and its cancellation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.console.paths import push_path
from relay.console.publisher.app_lookup import AppLookup
from relay.console.publisher.outcome_bar import BAR_WIDTH
from relay.console.publisher.push_view import PushView, load_push_view
from relay.console.resources import PageResources
from relay.console.routes import publisher_route
from relay.console.visitors import PublisherVisitor
from relay.core.errors import NotFound
from relay.core.schema import uuid_in_path
from relay.store.accounts.apps import App
from relay.store.push.cancellation import CancellationRepository

_PUSH = "apps/{app_id}/pushes/{push_id}/"


class PushPages:
    """`/console/apps/{app_id}/pushes/{push_id}/`."""

    def __init__(self, resources: PageResources) -> None:
        self._renderer = resources.renderer
        self._database = resources.database
        self._cancellations = CancellationRepository(resources.database)
        self._app_lookup = AppLookup(resources.database)
        self._clock = resources.clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield publisher_route("GET", _PUSH, self.show_push)
        yield publisher_route("GET", f"{_PUSH}state/", self.show_state)
        yield publisher_route("POST", f"{_PUSH}cancel/", self.cancel_push)

    async def show_push(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Show the page of a push."""
        app, push = await self._get_push(request, visitor)
        return self._renderer.render_page(request, "push.html", 200, **_context(app, push, is_part=False))

    async def show_state(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Return the part of the page that changes, for htmx. 204 if it is still at the version `seen`."""
        app, push = await self._get_push(request, visitor)
        if request.query.get("seen") == push.version:
            return web.Response(status=204)
        return self._renderer.render_page(
            request, "push_state.html", 200, **_context(app, push, is_part=True)
        )

    async def cancel_push(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Cancel what has not been sent yet."""
        app, push = await self._get_push(request, visitor)
        push_id = push.facts["push_id"]
        now, actor = self._clock.now(), visitor.actor
        await self._cancellations.cancel_push(app.app_id, push_id, visitor.publisher_id, now, actor)
        message = "The push was cancelled. Copies to which it is being sent now may still get it."
        return self._renderer.redirect(request, push_path(app.app_id, push_id), message)

    async def _get_push(self, request: web.Request, visitor: PublisherVisitor) -> tuple[App, PushView]:
        app = await self._app_lookup.get_app(request, visitor)
        push_id = uuid_in_path(request.match_info["push_id"])
        push = await load_push_view(self._database, app.app_id, push_id)
        if push is None:
            raise NotFound("There is no such push.")
        return app, push


def _context(app: App, push: PushView, *, is_part: bool) -> dict[str, Any]:
    """Return the variables of the templates. `is_part` is True if only `push_state.html` is rendered, for htmx."""
    return {
        "section": "pushes",
        "shown_app": app,
        "app": app,
        "push": push,
        "bar_width": BAR_WIDTH,
        "is_part": is_part,
    }
