"""Pages from templates: what each page is given, messages that outlive a redirect, errors as pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import aiohttp_jinja2
import jinja2
from aiohttp import web
from itsdangerous import BadData, URLSafeSerializer

from relay.console.sessions import BASE, CSRF_FIELD, CSRF_HEADER, Sessions, visitor_of
from relay.core.clock import Clock
from relay.core.errors import Fault, Invalid, RelayError

Item = TypeVar("Item")

HERE = Path(__file__).parent
_FLASH = "push_relay_message"
_FLASH_SECONDS = 60
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


class Pages:
    """Renders pages of the console.

    `secret_keys`, oldest to newest, sign the messages that wait in a cookie while the browser is redirected. Such a
    message holds no secret: what is shown once is rendered as the answer itself.
    """

    def __init__(self, sessions: Sessions, secret_keys: tuple[str, ...], clock: Clock) -> None:
        self._sessions = sessions
        self._messages = URLSafeSerializer(list(secret_keys), salt="push-relay.console.message")
        self._clock = clock

    def setup(self, application: web.Application) -> None:
        """Give the console's application its templates."""
        filters: dict[str, Callable[..., str]] = {
            "moment": show_moment,
            "duration": show_duration,
            "number": show_number,
        }
        environment = aiohttp_jinja2.setup(
            application,
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            undefined=jinja2.StrictUndefined,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            default_helpers=False,
            filters=filters,
        )
        del environment.globals["app"]  # aiohttp's: no template needs to see it
        environment.globals.update(
            base=BASE,
            csrf_field=CSRF_FIELD,
            csrf_header=CSRF_HEADER,
            ago=lambda moment: show_ago(moment, self._clock.now()),
        )

    def render(
        self, request: web.Request, template: str, status: int = 200, /, **context: Any
    ) -> web.Response:
        """The page of that template. `context` comes on top of what base.html needs (see there)."""
        visitor = visitor_of(request)
        message = self._message(request)
        given = {
            "visitor": visitor,
            "csrf_word": visitor.csrf if visitor else "",
            "message": message,
            "section": "",
            "shown_app": None,
            "faults": {},
            **context,
        }
        response = aiohttp_jinja2.render_template(template, request, given, status=status)
        if message is not None:
            response.del_cookie(_FLASH, path=BASE)
        return response

    def redirect(
        self, request: web.Request, path: str, message: str = "", kind: Literal["good", "bad"] = "good"
    ) -> web.Response:
        """To a page of the console (`path` follows `/console/`), which shows `message` once."""
        response = web.Response(status=303, headers={"Location": BASE + path})
        if message:
            value = self._messages.dumps([kind, message])
            text = value if isinstance(value, str) else value.decode()
            self._sessions.set_any_cookie(request, response, _FLASH, text, _FLASH_SECONDS)
        return response

    def error(self, request: web.Request, error: RelayError) -> web.Response:
        """The page of an error."""
        response = self.render(request, "error.html", error.status, error=error)
        for name in ("Retry-After", "Allow"):
            if name in error.headers:
                response.headers[name] = error.headers[name]
        return response

    def _message(self, request: web.Request) -> tuple[str, str] | None:
        try:
            kind, text = self._messages.loads(request.cookies[_FLASH])
        except (KeyError, BadData, ValueError, TypeError):
            return None
        return str(kind), str(text)


def faults_of(error: RelayError) -> dict[str, str]:
    """What is wrong with which field of a form: the details by field name, "" for the form as a whole."""
    faults: dict[str, str] = {}
    for fault in error.faults:
        name = fault.pointer.lstrip("/").split("/")[0]
        faults[name] = f"{faults[name]} {fault.detail}" if name in faults else fault.detail
    return faults


def refuse(name: str, detail: str) -> NoReturn:
    """Raises Invalid for the field `name` of a form, "" for all of it."""
    raise Invalid(faults=[Fault("invalid_value", f"/{name}" if name else "", detail)])


def show_moment(moment: datetime) -> str:
    """A time to read, to the minute, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def show_duration(seconds: float) -> str:
    """A length of time to read: two units at most, "3 min 20 s"."""
    if not math.isfinite(seconds):
        return "–"
    left = max(0, int(seconds))
    parts = []
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def show_ago(moment: datetime, now: datetime) -> str:
    """How long ago that was, or in how long it will be: one unit."""
    seconds = (now - moment).total_seconds()
    for unit, size in _UNITS[:-1]:
        if abs(seconds) >= size:
            number = f"{int(abs(seconds)) // size} {unit}"
            return f"{number} ago" if seconds > 0 else f"in {number}"
    return "just now" if seconds >= 0 else "in a moment"


def show_number(number: float) -> str:
    """A number with narrow spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def next_page(
    request: web.Request, items: Sequence[Item], limit: int, key: Callable[[Item], object]
) -> tuple[list[Item], str]:
    """What of `items` (one more than `limit` where another page follows) is shown, and the query of the next page."""
    shown = list(items[:limit])
    if len(items) <= limit:
        return shown, ""
    return shown, str(request.rel_url.update_query({"cursor": str(key(shown[-1]))}).query_string)


def context_of(error: RelayError, form: Mapping[str, str]) -> dict[str, Any]:
    """What a form needs to be shown again after a refusal: `faults` by field and `form`, what was typed."""
    return {"faults": faults_of(error), "form": dict(form)}
