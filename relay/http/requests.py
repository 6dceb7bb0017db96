"""Requests and answers of all endpoints: routes, JSON bodies, JSON answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import hdrs, web

from relay.core import strict_json
from relay.core.errors import BodyTooLarge, MalformedBody, RequestTimeout, UnsupportedMediaType

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_TIMEOUT = web.AppKey("body_timeout", float)
"""Seconds in which a body must have arrived. Without it there is no limit."""
JSON_TYPE = "application/json"
_encode = msgspec.json.encode


def route(method: str, path: str, handler: Handler) -> Iterable[web.RouteDef]:
    """Return the route of `path`, with its trailing slash and, as an alias, without."""
    yield web.route(method, path, handler)
    if path.endswith("/") and path != "/":
        yield web.route(method, path.rstrip("/"), handler)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer. `body` is anything msgspec encodes: structs, dicts, UUIDs, datetimes (RFC 3339)."""
    return web.Response(body=_encode(body), status=status, content_type=JSON_TYPE, headers=headers)


async def read_json(request: web.Request) -> Any:
    """Return the body, decoded as strict JSON.

    Raises:
        UnsupportedMediaType: the body is not JSON by its headers, or is compressed.
        BodyTooLarge: the body is larger than the limit of the application.
        MalformedBody: the body is empty, incomplete, or not strict JSON.
        RequestTimeout: the body does not arrive within `BODY_TIMEOUT`.
    """
    if hdrs.CONTENT_TYPE in request.headers and request.content_type != JSON_TYPE:
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
        if request.content.is_eof():  # it came with its head: the usual case, which needs no timeout
            return await request.read()
        async with asyncio.timeout(request.app.get(BODY_TIMEOUT)):
            return await request.read()
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time.") from None
    except (web.RequestPayloadError, ConnectionError):
        raise MalformedBody("The body broke off, or its chunks are not framed as they should be.") from None
