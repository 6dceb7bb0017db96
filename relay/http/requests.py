"""What all endpoints share: reading a body, checking it against a type, authenticating, and answering errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from relay.core import strict_json
from relay.core.errors import (
    BodyTooLarge,
    Forbidden,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    RelayError,
    RequestTimeout,
    Unauthenticated,
    UnsupportedMediaType,
    VersionNotSupported,
)
from relay.core.install_tokens import InstallTokens
from relay.http.request_log import TOKEN_ID, begin
from relay.store.accounts.api_tokens import ApiToken, ManageToken, OperatorToken, PushToken
from relay.store.accounts.token_cache import TokenCache
from relay.telemetry.logs import get_logger, where
from relay.telemetry.request_ids import REQUEST_ID

FirstToken = TypeVar("FirstToken", PushToken, ManageToken, OperatorToken)
SecondToken = TypeVar("SecondToken", PushToken, ManageToken, OperatorToken)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN_CACHE = web.AppKey("token_cache", TokenCache)
INSTALL_TOKENS = web.AppKey("install_tokens", InstallTokens)
"""Both are needed by `authenticate`."""
BODY_TIMEOUT = web.AppKey("body_timeout", float)
"""Seconds in which a body must have arrived; without it there is no limit."""
JSON, PROBLEM = "application/json", "application/problem+json"
_log = get_logger(__name__)
_VERSIONS = (HttpVersion11, HttpVersion10)
_encode = msgspec.json.encode


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer. `body` is anything msgspec encodes: structs, dicts, UUIDs, datetimes (RFC 3339)."""
    return web.Response(body=_encode(body), status=status, content_type=JSON, headers=headers)


def problem(error: RelayError) -> web.Response:
    """The answer to an error: application/problem+json (RFC 9457)."""
    return web.Response(
        body=problem_body(error), status=error.status, content_type=PROBLEM, headers=error.headers
    )


def problem_body(error: RelayError) -> bytes:
    """That of an answer to the request whose id is REQUEST_ID."""
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "success": False,
        "request_id": REQUEST_ID.get(),
        "errors": [fault._asdict() for fault in error.faults],
    }
    return _encode(body)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every exception becomes a problem; the unexpected ones are logged by type and place, without their values."""
    begin(request, request.match_info)
    try:
        if request.version not in _VERSIONS:  # the parser takes 0.9 and 2.0 too
            return problem(VersionNotSupported("Ask in HTTP/1.1."))
        return await handler(request)
    except RelayError as error:
        return problem(error)
    except web.HTTPRequestEntityTooLarge:
        return problem(BodyTooLarge(f"The body is larger than {request.client_max_size} bytes."))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem(
            MethodNotAllowed(f"This path takes {allowed}.", headers={hdrs.ALLOW: allowed}),
        )
    except web.HTTPNotFound:
        return problem(NotFound("There is nothing at this path."))
    except web.HTTPException:
        raise
    except Exception as error:
        log_unexpected(error)
        return problem(RelayError())


def log_unexpected(error: BaseException) -> None:
    """Log an error by its type and place, without its values: where it was raised, and how we came there."""
    _log.error("an error nobody foresaw", **where(error))


def route(method: str, path: str, handler: Handler) -> Iterable[web.RouteDef]:
    """A route with its trailing slash and, as an alias, without."""
    yield web.route(method, path, handler)
    if path.endswith("/") and path != "/":
        yield web.route(method, path.rstrip("/"), handler)


async def read_json(request: web.Request) -> Any:
    """The body as JSON, read strictly.

    Raises MalformedBody, UnsupportedMediaType, BodyTooLarge, or RequestTimeout if it does not arrive in time.
    """
    if hdrs.CONTENT_TYPE in request.headers and request.content_type != JSON:
        raise UnsupportedMediaType("Send Content-Type: application/json.")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise UnsupportedMediaType("Send the body without Content-Encoding.")
    if (request.content_length or 0) > request.client_max_size:
        raise BodyTooLarge(f"The body is larger than {request.client_max_size} bytes.")
    body = await _read(request)
    if not body:
        raise MalformedBody("The body is empty; JSON is expected.")
    return strict_json.decode(body)


async def _read(request: web.Request) -> bytes:
    try:
        if request.content.is_eof():  # all of it has come with its head: the usual case
            return await request.read()
        async with asyncio.timeout(request.app.get(BODY_TIMEOUT)):
            return await request.read()
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time.") from None
    except (web.RequestPayloadError, ConnectionError):
        raise MalformedBody("The body broke off, or its chunks are not framed as they should be.") from None


@overload
async def authenticate(request: web.Request, accepted: type[FirstToken], /) -> FirstToken: ...


@overload
async def authenticate(
    request: web.Request, accepted: type[FirstToken], also: type[SecondToken], /
) -> FirstToken | SecondToken: ...


async def authenticate(
    request: web.Request, accepted: type[Any], also: type[Any] | None = None, /
) -> ApiToken:
    """Return the API token of the caller, which is of the type `accepted` or `also`.

    Raises Unauthenticated, or Forbidden for a token of another type.
    """
    return await _authenticate_kinds(request, [accepted.kind] if also is None else [accepted.kind, also.kind])


async def refuse_api_token(request: web.Request, needed_kind: str) -> None:
    """Raise the error of an API token where only a token of `needed_kind` is accepted.

    Raises Unauthenticated, or Forbidden, which names the kind of the token that came.
    """
    await _authenticate_kinds(request, [needed_kind])


async def _authenticate_kinds(request: web.Request, kinds: Sequence[str]) -> ApiToken:
    text = bearer(request)
    token = await request.app[TOKEN_CACHE].authenticate_token(text)
    if token is None and request.app[INSTALL_TOKENS].verify_token(text) is not None:
        raise Forbidden(f"This needs a {' or '.join(kinds)} token, and this is an install token.")
    if token is None:
        raise Unauthenticated("The token is unknown, revoked or expired.")
    request[TOKEN_ID] = token.token_id
    if token.kind not in kinds:
        raise Forbidden(f"This needs a {' or '.join(kinds)} token, and this is a {token.kind} token.")
    return token


def bearer(request: web.Request) -> str:
    """The bearer token of the request (RFC 6750). Raises Unauthenticated without one."""
    if text := bearer_in(request.headers.get(hdrs.AUTHORIZATION, "")):
        return text
    raise Unauthenticated()


def bearer_in(authorization: str) -> str:
    """The bearer token in the value of that header, "" if there is none."""
    scheme, _, text = authorization.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""
