"""The push tokens of an app: creation, with the token shown once, and revocation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from relay.console.forms import EMPTY_FORM, convert_form, faults_by_field, read_form
from relay.console.paging import split_page
from relay.console.paths import app_path
from relay.console.publisher.app_lookup import AppLookup
from relay.console.resources import PageResources
from relay.console.routes import publisher_route
from relay.console.visitors import PublisherVisitor
from relay.core.errors import Conflict, Invalid, RelayError
from relay.core.schema import uuid_in_path
from relay.http.pagination import page_request
from relay.service.push_tokens import PushTokenBody, PushTokenService
from relay.store.accounts.apps import App

_LIST = "apps/{app_id}/tokens/"
_TOKENS_PER_PAGE = 50


class PushTokenPages:
    """`/console/apps/{app_id}/tokens/`."""

    def __init__(self, resources: PageResources, push_tokens: PushTokenService) -> None:
        self._renderer = resources.renderer
        self._app_lookup = AppLookup(resources.database)
        self._push_tokens = push_tokens
        self._clock = resources.clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield publisher_route("GET", _LIST, self.list_tokens)
        yield publisher_route("POST", _LIST, self.create_token)
        yield publisher_route("POST", f"{_LIST}{{token_id}}/revoke/", self.revoke_token)

    async def list_tokens(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """List the tokens that are not revoked, oldest first, with a form for a new one."""
        return await self._render_list(request, await self._app_lookup.get_app(request, visitor))

    async def create_token(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Create a token and show it. Only this response holds it: no redirect, cookie or table does."""
        app = await self._app_lookup.get_app(request, visitor)
        form = await read_form(request)
        day = form.get("expires_at", "")
        # A date field has no time: the token is valid until the end of that day.
        fields = {**form, "expires_at": f"{day}T23:59:59Z" if day else ""}
        try:
            body = convert_form(fields, PushTokenBody)
            new, issued = await self._push_tokens.create_push_token(app.app_id, visitor.token, body)
        except (Invalid, Conflict) as refusal:
            return await self._render_list(request, app, form, refusal)
        return self._renderer.render_page(
            request, "token_created.html", 201, section="tokens", shown_app=app, new=new, text=issued.text
        )

    async def revoke_token(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Revoke a token."""
        app = await self._app_lookup.get_app(request, visitor)
        token_id = uuid_in_path(request.match_info["token_id"])
        await self._push_tokens.revoke_push_token(app.app_id, token_id, visitor.token)
        return self._renderer.redirect(request, app_path(app.app_id, "tokens/"), "The token was revoked.")

    async def _render_list(
        self,
        request: web.Request,
        app: App,
        form: Mapping[str, str] = EMPTY_FORM,
        refusal: RelayError | None = None,
    ) -> web.StreamResponse:
        """Render the list. `form` holds what was typed if `refusal` refused it."""
        after = page_request(request, uuid_in_path).after
        items = await self._push_tokens.list_push_tokens(app.app_id, after, _TOKENS_PER_PAGE + 1)
        tokens, next_query = split_page(request, items, _TOKENS_PER_PAGE, lambda token: token.token_id)
        return self._renderer.render_page(
            request,
            "tokens.html",
            refusal.status if refusal else 200,
            section="tokens",
            shown_app=app,
            tokens=tokens,
            next_query=next_query,
            is_start=after is None,
            now=self._clock.now(),
            form=form,
            faults=faults_by_field(refusal) if refusal else {},
        )
