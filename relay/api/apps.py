"""`/v1.0/apps/`: a publisher's apps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import web

from relay.core.clock import Clock
from relay.core.errors import NotFound
from relay.core.schema import app_id_in_path, convert
from relay.http.authentication import authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.store.accounts.api_tokens import ManageToken
from relay.store.accounts.apps import App, AppRepository
from relay.store.database import Database


class _AppChange(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to an app. A field that is None stays unchanged."""

    installations_attach_aliases: bool | None = None


class AppsApi:
    """Endpoints of a publisher for its apps. An app of another publisher is not found."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._apps = AppRepository(database)
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("GET", "/v1.0/apps/", self.list_apps)
        yield from route("PATCH", "/v1.0/apps/{app_id}/", self.change_app)

    async def list_apps(self, request: web.Request) -> web.Response:
        """`GET /v1.0/apps/`: 200 and a page of the publisher's apps, by app_id."""
        owner = await authenticate(request, ManageToken)
        page = page_request(request, app_id_in_path)
        apps = await self._apps.list_apps(page.after or "", page.one_more, owner.publisher_id)
        return page_answer(page, apps, lambda app: app.app_id, _show_app)

    async def change_app(self, request: web.Request) -> web.Response:
        """`PATCH /v1.0/apps/{app_id}/`: 200 and the changed app."""
        owner = await authenticate(request, ManageToken)
        app_id = app_id_in_path(request.match_info["app_id"])
        change = convert(await read_json(request), _AppChange)
        app = await self._apps.change_app(
            owner.publisher_id, app_id, change.installations_attach_aliases, self._clock.now(), owner.actor
        )
        if app is None:
            raise NotFound("There is no such app.")
        return answer(_show_app(app))


def _show_app(app: App) -> dict[str, Any]:
    return {
        "app_id": app.app_id,
        "name": app.name,
        "created_at": app.created_at,
        "installations_attach_aliases": app.installations_attach_aliases,
    }
