"""Metrics of requests: their number and duration by route, never by path, which callers choose."""

from __future__ import annotations

import asyncio
import functools

from aiohttp import web
from prometheus_client import Histogram

from relay.http.requests import Handler
from relay.telemetry.metrics import HTTP_SECONDS

_NO_ROUTE = "none"
"""The labels `route` and `method` of a request that matches no route."""
_CLIENT_GONE = 499
"""The status of a request whose caller closed the connection before the answer."""


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure a request. It stands outside of `problems`, so that errors are answers already."""
    clock = asyncio.get_running_loop().time
    began, status = clock(), _CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        route = request.match_info.route
        resource = route.resource
        path, method = (_NO_ROUTE, _NO_ROUTE) if resource is None else (resource.canonical, route.method)
        observe_request(path, method, status, clock() - began)


def observe_request(path: str, method: str, status: int, seconds: float) -> None:
    """Count a request to the route with that path, and its duration."""
    _histogram(path, method, status // 100).observe(seconds)


@functools.cache
def _histogram(path: str, method: str, hundreds: int) -> Histogram:
    """Return the histogram of a route. It is cached, because looking it up takes longer than counting.

    A path without its trailing slash is an alias of the route.
    """
    route = path if path == _NO_ROUTE else f"{path.rstrip('/')}/"
    return HTTP_SECONDS.labels(route, method, f"{hundreds}xx")
