"""The app that a publisher's page is about."""

from __future__ import annotations

from aiohttp import web

from relay.console.visitors import PublisherVisitor
from relay.core.errors import NotFound
from relay.core.schema import app_id_in_path
from relay.store.accounts.apps import App, AppRepository
from relay.store.database import Database


class AppLookup:
    """Access to the apps of the signed-in publisher."""

    def __init__(self, database: Database) -> None:
        self._apps = AppRepository(database)

    async def get_app(self, request: web.Request, visitor: PublisherVisitor) -> App:
        """Return the app that the path names.

        Raises: NotFound if there is none, or if it belongs to another publisher.
        """
        app_id = app_id_in_path(request.match_info["app_id"])
        app = await self._apps.find_app(visitor.publisher_id, app_id)
        if app is None:
            raise NotFound("There is no such app.")
        return app
