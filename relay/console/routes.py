"""Routes of pages that need a signed-in visitor, with their guards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web

from relay.console.csrf import check_csrf_token, check_origin
from relay.console.paths import BASE_PATH
from relay.console.visitors import OperatorVisitor, PublisherVisitor, Visitor, visitor_of
from relay.core.errors import NotFound
from relay.http.requests import Handler as RequestHandler

AnyVisitor = TypeVar("AnyVisitor", bound=Visitor)
PageHandler = Callable[[web.Request, AnyVisitor], Awaitable[web.StreamResponse]]
_SAFE_METHODS = ("GET", "HEAD")


def publisher_route(method: str, path: str, handler: PageHandler[PublisherVisitor]) -> web.RouteDef:
    """Return a route that exists for publishers only. `path` is relative to `/console/`: "apps/{app_id}/"."""
    return web.route(method, f"/{path}", _guard(handler, PublisherVisitor))


def operator_route(method: str, path: str, handler: PageHandler[OperatorVisitor]) -> web.RouteDef:
    """Return a route that exists for operators only. `path` is relative to `/console/`."""
    return web.route(method, f"/{path}", _guard(handler, OperatorVisitor))


def _guard(handler: PageHandler[AnyVisitor], visitor_type: type[AnyVisitor]) -> RequestHandler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        visitor = visitor_of(request)
        if visitor is None:
            raise _redirect_to_sign_in(request)
        if not isinstance(visitor, visitor_type):
            raise NotFound("There is no such page.")
        if request.method not in _SAFE_METHODS:
            check_origin(request)
            await check_csrf_token(request, visitor)
        return await handler(request, visitor)

    return guarded


def _redirect_to_sign_in(request: web.Request) -> web.HTTPException:
    if "HX-Request" in request.headers:  # htmx would insert the page that a redirect leads to into this one
        return web.HTTPNoContent(headers={"HX-Redirect": BASE_PATH})
    is_page = request.method in _SAFE_METHODS and request.path != BASE_PATH
    query = f"?next={quote(request.path)}" if is_page else ""
    return web.HTTPSeeOther(BASE_PATH + query)
