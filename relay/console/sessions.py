"""Who is at the console: the cookie, what guards its forms, and the two kinds of pages.

The cookie holds a random session id and its signature; the session itself is a row in the database. A request that may
change something has to come from a page of ours: the browser says so in `Sec-Fetch-Site` or `Origin`, and the form (or
htmx, in a header) carries a word that follows from the session id. Sign-in has no session yet, and needs the first.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from aiohttp import hdrs, web
from itsdangerous import BadSignature, Signer

from relay.core.clock import Clock, Random
from relay.core.errors import (
    BodyTooLarge,
    Forbidden,
    MalformedBody,
    NotFound,
    RequestTimeout,
    UnsupportedMediaType,
)
from relay.core.ids import PublisherId
from relay.core.schema import convert
from relay.http import requests as http
from relay.service.callers import PublisherCaller
from relay.store.accounts.api_tokens import ManageToken, OperatorToken
from relay.store.accounts.console_sessions import SESSION_IDLE_LIMIT, ConsoleSessionRepository
from relay.store.accounts.token_cache import TokenCache
from relay.store.operations.audit import Actor

T = TypeVar("T", bound=msgspec.Struct)

BASE = "/console/"
"""Where the console is; the path of its cookies."""
COOKIE = "push_relay_console"
CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
_SESSION_BYTES = 32
_READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, repr=False)
class Visitor:
    """A signed-in caller. `csrf` is the word that the forms of the session carry."""

    token: ManageToken | OperatorToken
    csrf: str

    @property
    def is_operator(self) -> bool:
        """Return whether the visitor is an operator, and not a publisher."""
        return isinstance(self.token, OperatorToken)

    @property
    def actor(self) -> Actor:
        """Return the visitor as the audit log names it."""
        return self.token.actor


@dataclass(frozen=True, slots=True, repr=False)
class OperatorVisitor(Visitor):
    """A signed-in operator."""

    token: OperatorToken


@dataclass(frozen=True, slots=True, repr=False)
class PublisherVisitor(Visitor):
    """A signed-in publisher."""

    token: ManageToken

    @property
    def publisher_id(self) -> PublisherId:
        """Return the id of the publisher."""
        return self.token.publisher_id

    @property
    def caller(self) -> PublisherCaller:
        """Return the publisher as the services know it."""
        return PublisherCaller(self.publisher_id, self.token.token_id, self.actor)


AnyVisitor = TypeVar("AnyVisitor", bound=Visitor)
Handler = Callable[[web.Request, AnyVisitor], Awaitable[web.StreamResponse]]
_VISITOR = web.RequestKey("visitor", Visitor)


def visitor_of(request: web.Request) -> Visitor | None:
    """Who is signed in, once `Sessions.recognise` has looked."""
    return request.get(_VISITOR)


def publisher_page(method: str, path: str, handler: Handler[PublisherVisitor]) -> web.RouteDef:
    """A route that only publishers find. `path` follows `/console/`: "apps/{app_id}/"."""
    return web.route(method, f"/{path}", _guarded(handler, PublisherVisitor))


def operator_page(method: str, path: str, handler: Handler[OperatorVisitor]) -> web.RouteDef:
    """A route that only operators find."""
    return web.route(method, f"/{path}", _guarded(handler, OperatorVisitor))


def _guarded(handler: Handler[AnyVisitor], visitor_type: type[AnyVisitor]) -> http.Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        visitor = visitor_of(request)
        if visitor is None:
            raise _to_sign_in(request)
        if not isinstance(visitor, visitor_type):
            raise NotFound("There is no such page.")
        if request.method not in _READING:
            check_origin(request)
            await check_word(request, visitor)
        return await handler(request, visitor)

    return guarded


def _to_sign_in(request: web.Request) -> web.HTTPException:
    if "HX-Request" in request.headers:  # htmx would put the page of a redirect into the middle of another
        return web.HTTPNoContent(headers={"HX-Redirect": BASE})
    wanted = f"?next={quote(request.path)}" if request.method in _READING and request.path != BASE else ""
    return web.HTTPSeeOther(BASE + wanted)


def check_origin(request: web.Request) -> None:
    """Raises Forbidden unless the browser says that a page of this very host made the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:  # it is sent to localhost and over https, and knows the scheme as the browser does
        ours = site == "same-origin"
    else:
        origin = request.headers.get(hdrs.ORIGIN, "")
        ours = bool(request.host) and urlsplit(origin).netloc == request.host
    if not ours:
        raise Forbidden("This request does not come from a page of the console.")


async def check_word(request: web.Request, visitor: Visitor) -> None:
    """Raises Forbidden unless the form, or htmx's header, carries the word of this session."""
    given = request.headers.get(CSRF_HEADER)
    if given is None:
        given = (await read_form(request)).get(CSRF_FIELD, "")
    if not hmac.compare_digest(given.encode(), visitor.csrf.encode()):
        raise Forbidden("This form is of another session. Open the page again.")


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form as text; of a field that comes twice the last, and of fields without a name none.

    Raises UnsupportedMediaType, BodyTooLarge, MalformedBody or RequestTimeout.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("A form is expected.")
    try:
        async with asyncio.timeout(request.config_dict.get(http.BODY_TIMEOUT)):
            fields = await request.post()
    except TimeoutError:
        raise RequestTimeout("The form did not arrive in time.") from None
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge(f"The form is larger than {request.client_max_size} bytes.") from None
    except (web.RequestPayloadError, ConnectionError, ValueError, LookupError):
        raise MalformedBody("The form cannot be read.") from None
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def form_as(fields: Mapping[str, str], to: type[T]) -> T:
    """The fields of a form as a struct: checkboxes are "on", empty fields left out. Raises Invalid naming the field.

    Fields that the struct does not have are refused, as the API does; `csrf` is not counted.
    """
    wanted = {field.encode_name: field.type for field in msgspec.structs.fields(to)}
    given: dict[str, Any] = {}
    for name, text in fields.items():
        if name == CSRF_FIELD or text == "":
            continue
        given[name] = text == "on" if wanted.get(name) is bool else text
    return convert(given, to)


class Sessions:
    """Begins sessions, recognises them by their cookie, and ends them.

    `secret_keys`, oldest to newest, sign the cookie: the newest signs, all are accepted. `scheme_of` says how the
    browser reached us ("https" behind a proxy, too).
    """

    def __init__(
        self,
        stored: ConsoleSessionRepository,
        token_cache: TokenCache,
        secret_keys: tuple[str, ...],
        clock: Clock,
        random: Random,
        scheme_of: Callable[[web.Request], str] = lambda request: request.scheme,
    ) -> None:
        self._stored = stored
        self._token_cache = token_cache
        self._cookies = _signer(secret_keys, "session")
        self._words = _signer(secret_keys, "csrf")
        self._clock = clock
        self._random = random
        self._scheme_of = scheme_of

    async def recognise(self, request: web.Request) -> None:
        """Look who it is, for `visitor_of`."""
        session_id = self._session_id(request)
        token = session_id and await self._stored.find_session_token(session_id, self._clock.now())
        if session_id and token:
            csrf = self._words.get_signature(session_id).decode()
            if isinstance(token, OperatorToken):
                request[_VISITOR] = OperatorVisitor(token, csrf)
            elif isinstance(token, ManageToken):
                request[_VISITOR] = PublisherVisitor(token, csrf)

    async def begin(self, request: web.Request, token_text: str) -> str | None:
        """Begin a session with an API token: the value of its cookie. None if the token does not open the console.

        A session that the browser had before ends.
        """
        token = await self._token_cache.authenticate_token(token_text)
        if not isinstance(token, ManageToken | OperatorToken):
            return None
        await self.end(request)
        session_id = self._random(_SESSION_BYTES).hex()
        await self._stored.begin_session(session_id, token.token_id, self._clock.now())
        return self._cookies.sign(session_id).decode()

    async def end(self, request: web.Request) -> None:
        """End the session of the request, if it has one."""
        session_id = self._session_id(request)
        if session_id:
            await self._stored.end_session(session_id)

    def set_cookie(self, request: web.Request, response: web.StreamResponse, value: str) -> None:
        """Let the browser keep the session: not for scripts, not for other sites, and only over https if it came so."""
        self.set_any_cookie(request, response, COOKIE, value, int(SESSION_IDLE_LIMIT.total_seconds()))

    def set_any_cookie(
        self, request: web.Request, response: web.StreamResponse, name: str, value: str, seconds: int
    ) -> None:
        """A cookie of the console, kept for `seconds`."""
        secure = self._scheme_of(request) == "https"
        response.set_cookie(
            name, value, max_age=seconds, path=BASE, httponly=True, samesite="Strict", secure=secure
        )

    def _session_id(self, request: web.Request) -> str | None:
        try:
            return self._cookies.unsign(request.cookies.get(COOKIE, "")).decode()
        except (BadSignature, UnicodeError):
            return None


def _signer(secret_keys: tuple[str, ...], purpose: str) -> Signer:
    return Signer(
        list(secret_keys),
        salt=f"push-relay.console.{purpose}",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
