"""`/v1.0/operator/publishers/` and `/v1.0/operator/apps/`: publishers, their manage tokens and their apps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.core.errors import Conflict, Fault, NotFound
from relay.core.schema import AppIdText, Name, app_id_in_path, convert, uuid_in_path
from relay.http.authentication import authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.publishers import PublisherService
from relay.store.accounts.api_tokens import OperatorToken
from relay.store.accounts.apps import AppRepository
from relay.store.accounts.publishers import Publisher, PublisherRepository
from relay.store.database import Database


class _PublisherBody(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


class _AppBody(msgspec.Struct, forbid_unknown_fields=True):
    publisher_id: UUID
    name: Name
    app_id: AppIdText | None = None


class PublishersApi:
    """Endpoints of the operator for publishers and their apps."""

    def __init__(self, database: Database, publishers: PublisherService) -> None:
        self._stored_publishers = PublisherRepository(database)
        self._apps = AppRepository(database)
        self._publishers = publishers

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        publishers = "/v1.0/operator/publishers/"
        yield from route("POST", publishers, self.create_publisher)
        yield from route("GET", publishers, self.list_publishers)
        yield from route("POST", f"{publishers}{{publisher_id}}/tokens/", self.create_manage_token)
        yield from route("POST", "/v1.0/operator/apps/", self.create_app)
        yield from route("GET", "/v1.0/operator/apps/", self.list_apps)

    async def create_publisher(self, request: web.Request) -> web.Response:
        """`POST /v1.0/operator/publishers/`: 201 and the publisher, with its `manage_token`, which is shown once."""
        actor = (await authenticate(request, OperatorToken)).actor
        body = convert(await read_json(request), _PublisherBody)
        publisher, token = await self._publishers.create_publisher(body.name, actor)
        return answer(_show_publisher(publisher) | {"manage_token": token.text}, 201)

    async def list_publishers(self, request: web.Request) -> web.Response:
        """`GET /v1.0/operator/publishers/`: 200 and a page of publishers, oldest first."""
        await authenticate(request, OperatorToken)
        page = page_request(request, uuid_in_path)
        publishers = await self._stored_publishers.list_publishers(page.after, page.one_more)
        return page_answer(page, publishers, lambda publisher: publisher.publisher_id, _show_publisher)

    async def create_manage_token(self, request: web.Request) -> web.Response:
        """`POST /v1.0/operator/publishers/{publisher_id}/tokens/`: 201 and another `manage_token`."""
        actor = (await authenticate(request, OperatorToken)).actor
        publisher_id = uuid_in_path(request.match_info["publisher_id"])
        if not await self._stored_publishers.publisher_exists(publisher_id):
            raise NotFound("There is no such publisher.")
        token = await self._publishers.create_manage_token(publisher_id, actor)
        return answer({"id": token.token_id, "manage_token": token.text}, 201)

    async def create_app(self, request: web.Request) -> web.Response:
        """`POST /v1.0/operator/apps/`: 201 and the app; 409 if its app_id is taken."""
        actor = (await authenticate(request, OperatorToken)).actor
        body = convert(await read_json(request), _AppBody)
        if not await self._stored_publishers.publisher_exists(body.publisher_id):
            raise Conflict(
                faults=[Fault("unknown_publisher", "/publisher_id", "There is no such publisher.")]
            )
        app = await self._publishers.create_app(body.publisher_id, body.name, body.app_id, actor)
        if app is None:
            raise Conflict(faults=[Fault("conflict", "/app_id", "This app_id is taken.")])
        return answer(dataclasses.asdict(app), 201)

    async def list_apps(self, request: web.Request) -> web.Response:
        """`GET /v1.0/operator/apps/`: 200 and a page of all publishers' apps, by app_id."""
        await authenticate(request, OperatorToken)
        page = page_request(request, app_id_in_path)
        apps = await self._apps.list_apps(page.after or "", page.one_more)
        return page_answer(page, apps, lambda app: app.app_id, dataclasses.asdict)


def _show_publisher(publisher: Publisher) -> dict[str, Any]:
    return {"id": publisher.publisher_id, "name": publisher.name, "created_at": publisher.created_at}
