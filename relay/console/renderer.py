"""Rendering of pages: templates, messages that outlive a redirect, and errors as pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import aiohttp_jinja2
import jinja2
from aiohttp import web
from itsdangerous import BadData, URLSafeSerializer

from relay.console.cookies import ConsoleCookies
from relay.console.csrf import CSRF_HEADER
from relay.console.formatting import format_age, format_duration, format_moment, format_number
from relay.console.forms import CSRF_FIELD
from relay.console.paths import BASE_PATH
from relay.console.visitors import visitor_of
from relay.core.clock import Clock
from relay.core.errors import RelayError

MessageKind = Literal["good", "bad"]
"""Decides the colour of a message."""
_TEMPLATES = Path(__file__).parent / "templates"
_MESSAGE_COOKIE = "push_relay_message"
_MESSAGE_SECONDS = 60
_PASSED_ON_HEADERS = ("Retry-After", "Allow")
"""Headers of an error that its page keeps."""


class PageRenderer:
    """The maker of responses from templates.

    `secret_keys`, oldest to newest, sign messages, which a cookie carries across a redirect. A message holds no secret:
    secrets that are shown once are rendered in the response itself.
    """

    def __init__(self, cookies: ConsoleCookies, secret_keys: tuple[str, ...], clock: Clock) -> None:
        self._cookies = cookies
        self._messages = URLSafeSerializer(list(secret_keys), salt="push-relay.console.message")
        self._clock = clock

    def install_templates(self, application: web.Application) -> None:
        """Prepare `application` for `render_page`."""
        filters: dict[str, Callable[..., str]] = {
            "moment": format_moment,
            "duration": format_duration,
            "number": format_number,
        }
        environment = aiohttp_jinja2.setup(
            application,
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            undefined=jinja2.StrictUndefined,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            default_helpers=False,
            filters=filters,
        )
        del environment.globals["app"]  # aiohttp's application: templates must not reach it
        environment.globals.update(
            base=BASE_PATH,
            csrf_field=CSRF_FIELD,
            csrf_header=CSRF_HEADER,
            ago=lambda moment: format_age(moment, self._clock.now()),
        )

    def render_page(
        self, request: web.Request, template: str, status: int = 200, /, **context: Any
    ) -> web.Response:
        """Render a template. `context` overrides the defaults that base.html needs."""
        visitor = visitor_of(request)
        message = self._read_message(request)
        variables = {
            "visitor": visitor,
            "csrf_token": visitor.csrf_token if visitor else "",
            "message": message,
            "section": "",
            "shown_app": None,
            "faults": {},
            **context,
        }
        response = aiohttp_jinja2.render_template(template, request, variables, status=status)
        if message is not None:
            self._cookies.delete_cookie(response, _MESSAGE_COOKIE)
        return response

    def redirect(
        self, request: web.Request, path: str, message: str = "", kind: MessageKind = "good"
    ) -> web.Response:
        """Redirect to the console page at `path`, relative to `/console/`. That page shows `message` once."""
        response = web.Response(status=303, headers={"Location": BASE_PATH + path})
        if message:
            signed = self._messages.dumps([kind, message])
            value = signed if isinstance(signed, str) else signed.decode()
            self._cookies.set_cookie(request, response, _MESSAGE_COOKIE, value, _MESSAGE_SECONDS)
        return response

    def render_error(self, request: web.Request, error: RelayError) -> web.Response:
        """Render an error as a page with the error's status."""
        response = self.render_page(request, "error.html", error.status, error=error)
        for name in _PASSED_ON_HEADERS:
            if name in error.headers:
                response.headers[name] = error.headers[name]
        return response

    def _read_message(self, request: web.Request) -> tuple[str, str] | None:
        """Return (kind, text) of the message in the cookie, or None."""
        try:
            kind, text = self._messages.loads(request.cookies[_MESSAGE_COOKIE])
        except (KeyError, BadData, ValueError, TypeError):
            return None
        return str(kind), str(text)
