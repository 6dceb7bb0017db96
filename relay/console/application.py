"""The console as an application inside the relay's, with its own error pages and headers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from aiohttp import hdrs, web

from relay.console.paths import BASE_PATH, STATIC_PATH
from relay.console.renderer import PageRenderer
from relay.console.sessions import Sessions
from relay.core.errors import BodyTooLarge, MethodNotAllowed, NotFound, RelayError
from relay.http.problems import log_unexpected
from relay.http.requests import Handler

MAX_FORM_BYTES = 256 * 1024
"""A certificate with its chain has less than 64 KB, and a form writes up to three bytes for each of its bytes."""
_STATIC_FILES = Path(__file__).parent / "static"
_CONTENT_POLICY = "; ".join(
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
    "Content-Security-Policy": _CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageGroup(Protocol):
    """Pages of one subject."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes, relative to `/console`."""


class Console:
    """The console's application."""

    def __init__(self, sessions: Sessions, renderer: PageRenderer, page_groups: Iterable[PageGroup]) -> None:
        self._sessions = sessions
        self._renderer = renderer
        self._page_groups = page_groups

    def add_to(self, application: web.Application) -> None:
        """Serve the console below `/console/` of `application`."""
        console = web.Application(client_max_size=MAX_FORM_BYTES, middlewares=[self._answer_with_pages])
        self._renderer.install_templates(console)
        console.on_response_prepare.append(_add_headers)
        console.add_routes([web.static("/static", _STATIC_FILES)])
        for page_group in self._page_groups:
            console.add_routes(list(page_group.routes()))
        application.add_subapp(BASE_PATH.rstrip("/"), console)

    @web.middleware
    async def _answer_with_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Recognise the visitor, and turn every error into a page."""
        try:
            if not request.path.startswith(STATIC_PATH):
                await self._sessions.recognise_visitor(request)
            return await handler(request)
        except RelayError as error:
            return self._renderer.render_error(request, error)
        except web.HTTPMethodNotAllowed as error:
            methods = ", ".join(sorted(error.allowed_methods))
            return self._renderer.render_error(
                request, MethodNotAllowed(f"This page takes {methods}.", headers={hdrs.ALLOW: methods})
            )
        except web.HTTPRequestEntityTooLarge:
            return self._renderer.render_error(request, BodyTooLarge())
        except web.HTTPNotFound:
            return self._renderer.render_error(request, NotFound("There is no such page."))
        except web.HTTPException as error:
            # A redirect. If it were raised on, the relay's own middleware would answer with a problem instead.
            headers = {
                name: error.headers[name] for name in (hdrs.LOCATION, "HX-Redirect") if name in error.headers
            }
            return web.Response(status=error.status, headers=headers)
        except Exception as error:
            log_unexpected(error)
            return self._renderer.render_error(request, RelayError())


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    is_static = request.path.startswith(STATIC_PATH)
    response.headers[hdrs.CACHE_CONTROL] = "no-cache" if is_static else "no-store"
