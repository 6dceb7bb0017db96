"""What is noted of each request: its id, and a line in the log with its answer; where traces are made, a span."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.core.ip_addresses import Network
from relay.http.client_address import client_behind, header_values
from relay.telemetry.logs import get_logger
from relay.telemetry.request_ids import HEADER, REQUEST_ID, request_id
from relay.telemetry.traces import Traces

TOKEN_ID = web.RequestKey("token_id", UUID)
"""The id of the API token that the request was authenticated with."""
_log = get_logger(__name__)


class _Noted(NamedTuple):
    request_id: str
    began: float
    route: str | None
    """Its template; None where there is none, and where the request could not be read so far."""


_NOTED = web.RequestKey("noted", _Noted)


def begin(request: web.BaseRequest, match: web.UrlMappingMatchInfo | None = None) -> str:
    """The id of the request. The first call makes it, and from then on the lines of the log say it.

    `match` is the route that was found for it, if it came that far.
    """
    noted = request.get(_NOTED)
    if noted is None:
        resource = match.route.resource if match is not None else None
        noted = request[_NOTED] = _Noted(
            request_id(header_values(request, HEADER)),
            asyncio.get_running_loop().time(),
            resource.canonical if resource is not None else None,
        )
        REQUEST_ID.set(noted.request_id)
    return noted.request_id


def note(request: web.BaseRequest, status: int, trusted: Sequence[Network]) -> None:
    """Log a request that is answered. It says the route and never the path, in which callers write what they like."""
    if is_noted(status):
        noted = request[_NOTED]
        client = client_behind(request, trusted)
        log_answered(request.method, noted.route, status, noted.began, request.get(TOKEN_ID), client)


def is_noted(status: int) -> bool:
    """Whether the log takes a line about an answer with that status."""
    return _log.isEnabledFor(_level(status))


def log_answered(
    method: str, route: str | None, status: int, began: float, token_id: UUID | None, client: str
) -> None:
    """A line about a request, which `began` at that time of the event loop."""
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
    """Our faults are warnings, the callers' of interest, the rest for debugging."""
    return logging.WARNING if status >= 500 else logging.INFO if status >= 400 else logging.DEBUG


def traced(traces: Traces) -> Middleware:
    """A span for each request, around everything that it does."""

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        own_id = begin(request, request.match_info)
        with traces.request(request.method, request[_NOTED].route, own_id, request.headers) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            return response

    return trace
