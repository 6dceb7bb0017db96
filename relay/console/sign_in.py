"""Sign-in and sign-out, the only pages that need no session."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import web

from relay.console.csrf import check_csrf_token, check_origin
from relay.console.forms import read_form
from relay.console.paths import BASE_PATH
from relay.console.renderer import PageRenderer
from relay.console.sessions import Sessions
from relay.console.visitors import visitor_of

_CONSOLE_PATH = re.compile(r"/console/[A-Za-z0-9/_-]*\Z", re.ASCII)
"""Paths to which sign-in may redirect."""
_REFUSED_TOKEN = (
    "This token does not open the console: it is unknown, revoked or expired, or it is a push token."
)


class SignInPages:
    """`/console/`, `/console/sign-in/` and `/console/sign-out/`."""

    def __init__(self, sessions: Sessions, renderer: PageRenderer) -> None:
        self._sessions = sessions
        self._renderer = renderer

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield web.get("", _add_slash)
        yield web.get("/", self.show_home)
        yield web.post("/sign-in/", self.sign_in)
        yield web.post("/sign-out/", self.sign_out)

    async def show_home(self, request: web.Request) -> web.StreamResponse:
        """Show the sign-in form, or redirect a signed-in visitor to the first page."""
        visitor = visitor_of(request)
        if visitor is None:
            return self._renderer.render_page(request, "sign_in.html", next=request.query.get("next", ""))
        return self._renderer.redirect(request, "publishers/" if visitor.is_operator else "apps/")

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Start a session and redirect to the page that the visitor asked for before."""
        check_origin(request)
        form = await read_form(request)
        next_path = form.get("next", "")
        session_id = await self._sessions.start_session(request, form.get("token", "").strip())
        if session_id is None:
            faults = {"token": _REFUSED_TOKEN}
            return self._renderer.render_page(request, "sign_in.html", 403, next=next_path, faults=faults)
        path = next_path.removeprefix(BASE_PATH) if _CONSOLE_PATH.match(next_path) else ""
        response = self._renderer.redirect(request, path)
        self._sessions.set_session_cookie(request, response, session_id)
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End the session in the database and in the browser."""
        check_origin(request)
        if visitor := visitor_of(request):
            await check_csrf_token(request, visitor)
        await self._sessions.end_session(request)
        response = self._renderer.redirect(request, "", "You are signed out.")
        self._sessions.delete_session_cookie(response)
        return response


async def _add_slash(_: web.Request) -> web.StreamResponse:
    raise web.HTTPPermanentRedirect(BASE_PATH)
