"""The log of requests: an id and a line for each, and a span where traces are on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.core.ip_addresses import Network
from relay.http.authentication import TOKEN_ID
from relay.http.client_address import client_of, header_values
from relay.telemetry.logs import get_logger
from relay.telemetry.request_ids import HEADER, REQUEST_ID, request_id
from relay.telemetry.traces import Traces

_log = get_logger(__name__)


class _RequestStart(NamedTuple):
    request_id: str
    began: float
    """Seconds on the clock of the event loop."""
    route: str | None
    """The template of its path. None if no route matches, or the request could not be read that far."""


_START = web.RequestKey("start", _RequestStart)


def begin_request(request: web.BaseRequest, match: web.UrlMappingMatchInfo | None = None) -> str:
    """Return the id of the request. The first call assigns it, and puts it on all log lines from then on.

    `match` is the matching route, if the request got that far.
    """
    start = request.get(_START)
    if start is None:
        resource = match.route.resource if match is not None else None
        start = request[_START] = _RequestStart(
            request_id(header_values(request, HEADER)),
            asyncio.get_running_loop().time(),
            resource.canonical if resource is not None else None,
        )
        REQUEST_ID.set(start.request_id)
    return start.request_id


def log_request(request: web.BaseRequest, status: int, trusted: Sequence[Network]) -> None:
    """Log an answered request that has begun. The line holds the route, never the path, which callers choose."""
    if is_logged(status):
        start = request[_START]
        client = client_of(request, trusted)
        log_answered(request.method, start.route, status, start.began, request.get(TOKEN_ID), client)


def is_logged(status: int) -> bool:
    """Return whether the level of the log includes answers with that status."""
    return _log.isEnabledFor(_level(status))


def log_answered(
    method: str, route: str | None, status: int, began: float, token_id: UUID | None, client: str
) -> None:
    """Log an answered request. `began` is a time of the event loop, in seconds."""
    _log.log(
        _level(status),
        "request",
        method=method,
        route=route,
        status=status,
        ms=round((asyncio.get_running_loop().time() - began) * 1000, 1),
        token_id=token_id and str(token_id),
        client=client,
    )


def _level(status: int) -> int:
    """Return warning for the relay's faults, info for the callers', debug for the rest."""
    return logging.WARNING if status >= 500 else logging.INFO if status >= 400 else logging.DEBUG


def traced(traces: Traces) -> Middleware:
    """Return a middleware that opens a span around each request."""

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        own_id = begin_request(request, request.match_info)
        with traces.request(request.method, request[_START].route, own_id, request.headers) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            return response

    return trace
