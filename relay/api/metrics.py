"""`/metrics`: metrics for Prometheus. They are not part of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from aiohttp import hdrs, web

from relay.core.errors import NotFound
from relay.core.ip_addresses import Network, find_client_address, is_trusted
from relay.service.state_metrics import StateMetrics
from relay.telemetry.exposition import exposition

_FORWARDED_FOR = "X-Forwarded-For"
_PROXY_HEADERS = (
    _FORWARDED_FOR,
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    hdrs.FORWARDED,
    hdrs.VIA,
)
"""Headers that proxies add. A request with one of them does not come from the other end of the connection."""


class MetricsApi:
    """The endpoint of the metrics. It answers 404 to callers outside of `networks`.

    A request through a proxy that is not `trusted` gets 404 too: the proxy may run on this host, which is in
    `networks`, and serve the whole Internet. `measure` updates the gauges of this process.
    """

    def __init__(
        self,
        state: StateMetrics,
        measure: Callable[[], object],
        *,
        networks: Sequence[Network],
        trusted: Sequence[Network],
    ) -> None:
        self._state = state
        self._measure = measure
        self._networks = networks
        self._trusted = trusted

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the route with its handler."""
        yield web.get("/metrics", self.show_metrics)

    async def show_metrics(self, request: web.Request) -> web.Response:
        """`GET /metrics`: 200 and the metrics of all workers. It works while the database is away, and says so."""
        if not self._may_read(request):
            raise NotFound("There is nothing at this path.")
        await self._state.refresh()
        self._measure()
        accept = request.headers.get(hdrs.ACCEPT, "")
        body, content_type = await asyncio.to_thread(exposition, self._state, accept)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    def _may_read(self, request: web.Request) -> bool:
        peer = request.remote or ""
        if not is_trusted(peer, self._trusted) and any(name in request.headers for name in _PROXY_HEADERS):
            return False
        forwarded_for = request.headers.getall(_FORWARDED_FOR, [])
        return is_trusted(find_client_address(peer, forwarded_for, self._trusted), self._networks)
