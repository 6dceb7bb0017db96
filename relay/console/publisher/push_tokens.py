"""The push tokens of an app: made, shown once, revoked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from relay.console.publisher.app_lookup import OwnApps, path_of
from relay.console.renderer import Pages, faults_of, next_page
from relay.console.sessions import PublisherVisitor, form_as, publisher_page, read_form
from relay.core.clock import Clock
from relay.core.errors import Conflict, Invalid, RelayError
from relay.core.schema import uuid_in_path
from relay.http.pagination import page_request
from relay.service.push_tokens import PushTokenBody, PushTokenService
from relay.store.accounts.apps import App
from relay.store.database import Database

_LIST = "apps/{app_id}/tokens/"
_TOKENS = 50
"""How many a page shows."""
_NOTHING: Mapping[str, str] = {}


class TokenPages:
    """`/console/apps/{app_id}/tokens/`."""

    def __init__(self, pages: Pages, database: Database, push_tokens: PushTokenService, clock: Clock) -> None:
        self._pages = pages
        self._own_apps = OwnApps(database)
        self._push_tokens = push_tokens
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield publisher_page("GET", _LIST, self.list_tokens)
        yield publisher_page("POST", _LIST, self.create)
        yield publisher_page("POST", f"{_LIST}{{token_id}}/revoke/", self.revoke)

    async def list_tokens(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """The tokens that are not revoked, oldest first, and the form for another one."""
        return await self._list(request, await self._own_apps.of(request, visitor))

    async def create(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Make a token and show it, this once: it is in no redirect, no cookie and no database."""
        app = await self._own_apps.of(request, visitor)
        form = await read_form(request)
        day = form.get("expires_at", "")
        # A browser's calendar gives a day; the token works until its end.
        fields = {**form, "expires_at": f"{day}T23:59:59Z" if day else ""}
        try:
            body = form_as(fields, PushTokenBody)
            new, issued = await self._push_tokens.create_push_token(app.app_id, visitor.caller, body)
        except (Invalid, Conflict) as refused:
            return await self._list(request, app, form, refused)
        return self._pages.render(
            request, "token_made.html", 201, section="tokens", shown_app=app, new=new, text=issued.text
        )

    async def revoke(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Refuse a token from now on."""
        app = await self._own_apps.of(request, visitor)
        token_id = uuid_in_path(request.match_info["token_id"])
        await self._push_tokens.revoke_push_token(app.app_id, token_id, visitor.caller)
        return self._pages.redirect(request, path_of(app, "tokens/"), "The token was revoked.")

    async def _list(
        self,
        request: web.Request,
        app: App,
        form: Mapping[str, str] = _NOTHING,
        refused: RelayError | None = None,
    ) -> web.StreamResponse:
        """`form` is what was typed, and `refused` why that can't be."""
        after = page_request(request, uuid_in_path).after
        found = await self._push_tokens.list_push_tokens(app.app_id, after, _TOKENS + 1)
        tokens, more = next_page(request, found, _TOKENS, lambda token: token.token_id)
        return self._pages.render(
            request,
            "tokens.html",
            refused.status if refused else 200,
            section="tokens",
            shown_app=app,
            tokens=tokens,
            more=more,
            is_start=after is None,
            now=self._clock.now(),
            form=form,
            faults=faults_of(refused) if refused else {},
        )
