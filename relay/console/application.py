"""The console at `/console/`: an application of its own inside the relay's, with its own errors and headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from aiohttp import hdrs, web

from relay.console.renderer import HERE, Pages
from relay.console.sessions import BASE, COOKIE, Sessions, check_origin, check_word, read_form, visitor_of
from relay.core.errors import BodyTooLarge, MethodNotAllowed, NotFound, RelayError
from relay.http import requests as http
from relay.http.requests import Handler

LARGEST_FORM = 256 * 1024
"""Bytes. A certificate with its chain has less than 64 KB, and a form writes up to three bytes for one."""
_STATIC = HERE / "static"
_WITHIN = re.compile(r"/console/[A-Za-z0-9/_-]*\Z", re.ASCII)
"""Where sign-in may lead to."""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageModule(Protocol):
    """A part of the console."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Its routes, below `/console`."""


class Console:
    """Sign-in, sign-out and the pages of `parts`."""

    def __init__(self, sessions: Sessions, pages: Pages, parts: Iterable[PageModule]) -> None:
        self._sessions = sessions
        self._pages = pages
        self._parts = parts

    def add_to(self, application: web.Application) -> None:
        """Serve the console there."""
        console = web.Application(client_max_size=LARGEST_FORM, middlewares=[self._as_pages])
        self._pages.setup(console)
        console.on_response_prepare.append(_add_headers)
        console.add_routes(
            [
                web.get("", _to_home),
                web.get("/", self.home),
                web.post("/sign-in/", self.sign_in),
                web.post("/sign-out/", self.sign_out),
                web.static("/static", _STATIC),
            ]
        )
        for part in self._parts:
            console.add_routes(list(part.routes()))
        application.add_subapp(BASE.rstrip("/"), console)

    async def home(self, request: web.Request) -> web.StreamResponse:
        """Sign-in or, for who is signed in, the page to begin with."""
        visitor = visitor_of(request)
        if visitor is None:
            return self._pages.render(request, "sign_in.html", next=request.query.get("next", ""))
        return self._pages.redirect(request, "publishers/" if visitor.is_operator else "apps/")

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Begin a session and go on to where the visitor wanted to."""
        check_origin(request)
        form = await read_form(request)
        wanted = form.get("next", "")
        cookie = await self._sessions.begin(request, form.get("token", "").strip())
        if cookie is None:
            faults = {
                "token": "It does not open the console: it is unknown, revoked or expired, or a push token."
            }
            return self._pages.render(request, "sign_in.html", 403, next=wanted, faults=faults)
        response = self._pages.redirect(request, wanted.removeprefix(BASE) if _WITHIN.match(wanted) else "")
        self._sessions.set_cookie(request, response, cookie)
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End the session, here and in the database."""
        check_origin(request)
        if visitor := visitor_of(request):
            await check_word(request, visitor)
        await self._sessions.end(request)
        response = self._pages.redirect(request, "", "You are signed out.")
        response.del_cookie(COOKIE, path=BASE)
        return response

    @web.middleware
    async def _as_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Look who it is, and show every error as a page."""
        try:
            if not request.path.startswith(f"{BASE}static/"):
                await self._sessions.recognise(request)
            return await handler(request)
        except RelayError as error:
            return self._pages.error(request, error)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return self._pages.error(
                request, MethodNotAllowed(f"This page takes {allowed}.", headers={hdrs.ALLOW: allowed})
            )
        except web.HTTPRequestEntityTooLarge:
            return self._pages.error(request, BodyTooLarge())
        except web.HTTPNotFound:
            return self._pages.error(request, NotFound("There is no such page."))
        except web.HTTPException as error:
            # To another page. Raised further, the connection would show a problem instead.
            ways = {
                name: error.headers[name] for name in (hdrs.LOCATION, "HX-Redirect") if name in error.headers
            }
            return web.Response(status=error.status, headers=ways)
        except Exception as error:
            http.log_unexpected(error)
            return self._pages.error(request, RelayError())


async def _to_home(_: web.Request) -> web.StreamResponse:
    raise web.HTTPPermanentRedirect(BASE)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    is_file = request.path.startswith(f"{BASE}static/")
    response.headers[hdrs.CACHE_CONTROL] = "no-cache" if is_file else "no-store"
