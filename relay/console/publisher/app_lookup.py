"""Whose app a page is about: the signed-in publisher's, or nobody's as far as anyone can tell."""

from __future__ import annotations

from aiohttp import web

from relay.console.sessions import PublisherVisitor
from relay.core.errors import NotFound
from relay.core.schema import app_id_in_path
from relay.store.accounts.apps import App, AppRepository
from relay.store.database import Database


class OwnApps:
    """The apps that pages are about."""

    def __init__(self, database: Database) -> None:
        self._apps = AppRepository(database)

    async def of(self, request: web.Request, visitor: PublisherVisitor) -> App:
        """The app of the path. Raises NotFound for another publisher's."""
        app_id = app_id_in_path(request.match_info["app_id"])
        app = await self._apps.find_app(visitor.publisher_id, app_id)
        if app is None:
            raise NotFound("There is no such app.")
        return app


def path_of(app: App, rest: str = "") -> str:
    """A page of that app, as it follows `/console/`."""
    return f"apps/{app.app_id}/{rest}"
