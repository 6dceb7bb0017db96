"""How many requests there are and how long their answers take, by route: never by what callers write into a path."""

from __future__ import annotations

import asyncio
import functools

from aiohttp import web
from prometheus_client import Histogram

from relay.http.requests import Handler
from relay.telemetry.metrics import HTTP_SECONDS

_NO_ROUTE = "none"
"""Route and method of a request to a path or with a method that the relay does not have."""


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure a request. Outside of `http.problems`, so that errors have become answers."""
    clock = asyncio.get_running_loop().time
    began, status = clock(), 499  # what is logged for callers that went away before their answer
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
        observe(path, method, status, clock() - began)


def observe(path: str, method: str, status: int, seconds: float) -> None:
    """A request to the route of that path took so long."""
    _histogram(path, method, status // 100).observe(seconds)


@functools.cache
def _histogram(path: str, method: str, hundreds: int) -> Histogram:
    """Kept, because looking it up takes longer than counting. A path without its slash is the same route."""
    route = path if path == _NO_ROUTE else f"{path.rstrip('/')}/"
    return HTTP_SECONDS.labels(route, method, f"{hundreds}xx")
