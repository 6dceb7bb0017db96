"""The publishers, and one publisher with its apps and manage tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.console.forms import convert_form, read_form, refuse_field, refused_form_context
from relay.console.paging import split_page
from relay.console.paths import publisher_path
from relay.console.resources import PageResources
from relay.console.routes import operator_route
from relay.console.visitors import OperatorVisitor
from relay.core.accounts import TokenKind
from relay.core.errors import Invalid, NotFound
from relay.core.schema import AppIdText, Label, Name, uuid_in_path
from relay.service.publishers import PublisherService
from relay.store.accounts.api_tokens import ApiTokenRepository, TokenFilter
from relay.store.accounts.apps import AppRepository
from relay.store.accounts.publishers import Publisher, PublisherRepository
from relay.store.accounts.token_cache import TokenCache

_LIST = "publishers/"
_PUBLISHER = f"{_LIST}{{publisher_id}}/"
_PUBLISHERS_PER_PAGE = 50
_MAX_ITEMS = 200
"""Apps, and tokens, of one publisher that its page shows."""


class _PublisherForm(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


class _AppForm(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    app_id: AppIdText | None = None


class _TokenForm(msgspec.Struct, forbid_unknown_fields=True):
    label: Label = ""


class PublisherPages:
    """`/console/publishers/`. `token_cache` must forget tokens that are revoked here."""

    def __init__(
        self, resources: PageResources, publishers: PublisherService, token_cache: TokenCache
    ) -> None:
        self._renderer = resources.renderer
        self._publisher_repository = PublisherRepository(resources.database)
        self._apps = AppRepository(resources.database)
        self._tokens = ApiTokenRepository(resources.database, resources.clock, resources.random)
        self._publishers = publishers
        self._token_cache = token_cache

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield operator_route("GET", _LIST, self.list_publishers)
        yield operator_route("POST", _LIST, self.add_publisher)
        yield operator_route("GET", _PUBLISHER, self.show_publisher)
        yield operator_route("POST", f"{_PUBLISHER}apps/", self.add_app)
        yield operator_route("POST", f"{_PUBLISHER}tokens/", self.create_token)
        yield operator_route("POST", f"{_PUBLISHER}tokens/{{token_id}}/revoke/", self.revoke_token)

    async def list_publishers(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """List the publishers, oldest first, with their numbers of apps."""
        return await self._render_list(request)

    async def _render_list(self, request: web.Request, status: int = 200, **context: Any) -> web.Response:
        cursor = request.query.get("cursor")
        after = uuid_in_path(cursor) if cursor else None
        items = await self._publisher_repository.list_publishers(after, _PUBLISHERS_PER_PAGE + 1)
        publishers, next_query = split_page(
            request, items, _PUBLISHERS_PER_PAGE, lambda publisher: publisher.publisher_id
        )
        counts = await self._apps.count_apps([publisher.publisher_id for publisher in publishers])
        variables = {
            "publishers": publishers,
            "counts": counts,
            "next_query": next_query,
            "form": {},
            **context,
        }
        return self._renderer.render_page(
            request, "publishers.html", status, section="publishers", **variables
        )

    async def add_publisher(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Create a publisher, and show its page with its first manage token. Only this response holds the token."""
        form = await read_form(request)
        try:
            body = convert_form(form, _PublisherForm)
        except Invalid as refusal:
            return await self._render_list(request, refusal.status, **refused_form_context(refusal, form))
        publisher, token = await self._publishers.create_publisher(body.name, visitor.actor)
        return await self._render_publisher(request, publisher, new_token=token.text)

    async def show_publisher(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """Show a publisher with its apps and manage tokens."""
        return await self._render_publisher(request, await self._get_publisher(request))

    async def _render_publisher(
        self, request: web.Request, publisher: Publisher, status: int = 200, **context: Any
    ) -> web.Response:
        variables = {
            "publisher": publisher,
            "apps": await self._apps.list_apps("", _MAX_ITEMS, publisher.publisher_id),
            "tokens": await self._manage_tokens(publisher.publisher_id),
            "new_token": None,
            "form": {},
            **context,
        }
        return self._renderer.render_page(
            request, "publisher.html", status, section="publishers", **variables
        )

    async def add_app(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Create an app of the publisher."""
        publisher = await self._get_publisher(request)
        form = await read_form(request)
        try:
            body = convert_form(form, _AppForm)
            app = await self._publishers.create_app(
                publisher.publisher_id, body.name, body.app_id, visitor.actor
            )
            if app is None:
                refuse_field("app_id", "This app_id is taken.")
        except Invalid as refusal:
            context = refused_form_context(refusal, form)
            return await self._render_publisher(request, publisher, refusal.status, **context)
        message = f"The app {app.name} was added with the app_id {app.app_id}."
        return self._renderer.redirect(request, publisher_path(publisher.publisher_id), message)

    async def create_token(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Create a manage token and show it. Only this response holds it."""
        publisher = await self._get_publisher(request)
        form = await read_form(request)
        try:
            label = convert_form(form, _TokenForm).label
        except Invalid as refusal:
            context = refused_form_context(refusal, form)
            return await self._render_publisher(request, publisher, refusal.status, **context)
        issued = await self._publishers.create_manage_token(publisher.publisher_id, visitor.actor, label)
        return await self._render_publisher(request, publisher, new_token=issued.text)

    async def revoke_token(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Revoke a manage token of the publisher. Its console sessions end with it."""
        publisher = await self._get_publisher(request)
        token_id = uuid_in_path(request.match_info["token_id"])
        token_ids = {token.token_id for token in await self._manage_tokens(publisher.publisher_id)}
        if token_id not in token_ids or not await self._tokens.revoke_token(token_id, visitor.actor):
            raise NotFound("The publisher has no such token.")
        self._token_cache.drop_revoked()
        return self._renderer.redirect(
            request, publisher_path(publisher.publisher_id), "The token was revoked."
        )

    async def _manage_tokens(self, publisher_id: UUID) -> list[Any]:
        manage_tokens = TokenFilter(kind=TokenKind.MANAGE, publisher_id=publisher_id)
        return [*await self._tokens.list_tokens(manage_tokens, None, _MAX_ITEMS)]

    async def _get_publisher(self, request: web.Request) -> Publisher:
        publisher = await self._publisher_repository.find_publisher(
            uuid_in_path(request.match_info["publisher_id"])
        )
        if publisher is None:
            raise NotFound("There is no such publisher.")
        return publisher
