"""The operator's pages of publishers: who they are, their apps, and the manage_ tokens they were given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.console.renderer import Pages, context_of, next_page, refuse
from relay.console.sessions import OperatorVisitor, form_as, operator_page, read_form
from relay.core.accounts import TokenKind
from relay.core.clock import Clock, Random
from relay.core.errors import Invalid, NotFound
from relay.core.schema import AppId, Label, Name, uuid_in_path
from relay.service.publishers import PublisherService
from relay.store.accounts.api_tokens import ApiTokenRepository, TokenFilter
from relay.store.accounts.apps import AppRepository
from relay.store.accounts.publishers import Publisher, PublisherRepository
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database

_PER_PAGE = 50
_MOST = 200
"""Apps and tokens of one publisher that are shown."""


class _PublisherForm(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


class _AppForm(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    app_id: AppId | None = None


class _TokenForm(msgspec.Struct, forbid_unknown_fields=True):
    label: Label = ""


class PublisherPages:
    """`/console/publishers/`. `api_tokens` forgets what was revoked."""

    def __init__(
        self,
        pages: Pages,
        database: Database,
        publishers: PublisherService,
        token_cache: TokenCache,
        clock: Clock,
        random: Random,
    ) -> None:
        self._pages = pages
        self._stored_publishers = PublisherRepository(database)
        self._apps = AppRepository(database)
        self._tokens = ApiTokenRepository(database, clock, random)
        self._publishers = publishers
        self._token_cache = token_cache

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        one = "publishers/{publisher_id}/"
        yield operator_page("GET", "publishers/", self.all)
        yield operator_page("POST", "publishers/", self.add)
        yield operator_page("GET", one, self.show)
        yield operator_page("POST", f"{one}apps/", self.add_app)
        yield operator_page("POST", f"{one}tokens/", self.add_token)
        yield operator_page("POST", f"{one}tokens/{{token_id}}/revoke/", self.revoke_token)

    async def all(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """A page of publishers, oldest first, with how many apps each has."""
        return await self._list(request)

    async def _list(self, request: web.Request, status: int = 200, **more: Any) -> web.Response:
        cursor = request.query.get("cursor")
        after = uuid_in_path(cursor) if cursor else None
        found = await self._stored_publishers.list_publishers(after, _PER_PAGE + 1)
        shown, older = next_page(request, found, _PER_PAGE, lambda one: one.publisher_id)
        counts = await self._apps.count_apps([one.publisher_id for one in shown])
        context = {"publishers": shown, "counts": counts, "more": older, "form": {}, **more}
        return self._pages.render(request, "publishers.html", status, section="publishers", **context)

    async def add(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """A new publisher: its page, with its first manage_ token, this once."""
        form = await read_form(request)
        try:
            body = form_as(form, _PublisherForm)
        except Invalid as error:
            return await self._list(request, error.status, **context_of(error, form))
        publisher, token = await self._publishers.create_publisher(body.name, visitor.actor)
        return await self._show(request, publisher, new_token=token.text)

    async def show(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """One publisher with its apps and manage_ tokens."""
        return await self._show(request, await self._publisher(request))

    async def _show(
        self, request: web.Request, publisher: Publisher, status: int = 200, **more: Any
    ) -> web.Response:
        own = publisher.publisher_id
        context = {
            "publisher": publisher,
            "apps": await self._apps.list_apps("", _MOST, own),
            "tokens": await self._manage_tokens(own),
            "new_token": None,
            "form": {},
            **more,
        }
        return self._pages.render(request, "publisher.html", status, section="publishers", **context)

    async def add_app(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """A new app of the publisher."""
        publisher = await self._publisher(request)
        form = await read_form(request)
        try:
            body = form_as(form, _AppForm)
            own = publisher.publisher_id
            app = await self._publishers.create_app(own, body.name, body.app_id, visitor.actor)
            if app is None:
                refuse("app_id", "This app_id is taken.")
        except Invalid as error:
            return await self._show(request, publisher, error.status, **context_of(error, form))
        return self._pages.redirect(
            request, _path(publisher), f"{app.name} is there, with app_id {app.app_id}."
        )

    async def add_token(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Another manage_ token, shown this once."""
        publisher = await self._publisher(request)
        form = await read_form(request)
        try:
            label = form_as(form, _TokenForm).label
        except Invalid as error:
            return await self._show(request, publisher, error.status, **context_of(error, form))
        own = publisher.publisher_id
        issued = await self._publishers.create_manage_token(own, visitor.actor, label)
        return await self._show(request, publisher, new_token=issued.text)

    async def revoke_token(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """End a manage_ token of the publisher, and who is signed in with it."""
        publisher = await self._publisher(request)
        token_id = uuid_in_path(request.match_info["token_id"])
        own = {token.token_id for token in await self._manage_tokens(publisher.publisher_id)}
        if token_id not in own or not await self._tokens.revoke_token(token_id, visitor.actor):
            raise NotFound("The publisher has no such token.")
        self._token_cache.drop_revoked()
        return self._pages.redirect(request, _path(publisher), "The token is revoked.")

    async def _manage_tokens(self, publisher_id: UUID) -> list[Any]:
        wanted = TokenFilter(kind=TokenKind.MANAGE, publisher_id=publisher_id)
        return [*await self._tokens.list_tokens(wanted, None, _MOST)]

    async def _publisher(self, request: web.Request) -> Publisher:
        found = await self._stored_publishers.find_publisher(uuid_in_path(request.match_info["publisher_id"]))
        if found is None:
            raise NotFound("There is no such publisher.")
        return found


def _path(publisher: Publisher) -> str:
    return f"publishers/{publisher.publisher_id}/"
