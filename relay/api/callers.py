"""Publishers, and the app in the path of their request."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from relay.core.errors import NotFound
from relay.core.schema import app_id_in_path
from relay.http.authentication import authenticate
from relay.store.accounts.api_tokens import ManageToken
from relay.store.accounts.apps import AppRepository
from relay.store.database import Database


class OwnedApp(NamedTuple):
    """An app and the manage token of its publisher, which is the caller."""

    app_id: str
    owner: ManageToken


class AppOwners:
    """Authentication of publishers for one of their apps."""

    def __init__(self, database: Database) -> None:
        self._apps = AppRepository(database)

    async def authenticate_owner(self, request: web.Request) -> OwnedApp:
        """Return the `{app_id}` of the path and the manage token of the caller, which must be its publisher.

        Raises:
            Unauthenticated: the request has no valid token.
            Forbidden: the token is not a manage token.
            NotFound: the publisher has no such app.
        """
        owner = await authenticate(request, ManageToken)
        app_id = app_id_in_path(request.match_info["app_id"])
        await self.check_owner(owner, app_id)
        return OwnedApp(app_id, owner)

    async def check_owner(self, owner: ManageToken, app_id: str) -> None:
        """Check that the app belongs to `owner`.

        Raises:
            NotFound: it does not, or there is no such app.
        """
        if not await self._apps.owns_app(owner.publisher_id, app_id):
            raise NotFound("There is no such app.")
