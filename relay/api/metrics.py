"""GET /metrics: for Prometheus, from networks that the settings name. It is no part of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from aiohttp import hdrs, web

from relay.core.errors import NotFound
from relay.core.ip_addresses import Network, find_client_address, is_trusted
from relay.service.state_metrics import StateMetrics
from relay.telemetry.exposition import exposition

_FORWARDED_FOR = "X-Forwarded-For"
_FORWARDING = (
    _FORWARDED_FOR,
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    hdrs.FORWARDED,
    hdrs.VIA,
)
"""What proxies add. With one of these, the other end of the connection is not who asks."""


class MetricsApi:
    """`/metrics`. For everybody outside of `networks` there is nothing here.

    Without `trusted` proxies a request that came through one is refused: its peer may be this very machine, and the
    caller anybody. `measure` brings the gauges of this process up to date.
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
        """The one route."""
        yield web.get("/metrics", self.show)

    async def show(self, request: web.Request) -> web.Response:
        """200: all metrics, of all workers. A database that is away is one of them, and no error."""
        if not self._may_read(request):
            raise NotFound("There is nothing at this path.")
        await self._state.refresh()
        self._measure()
        accept = request.headers.get(hdrs.ACCEPT, "")
        body, content_type = await asyncio.to_thread(exposition, self._state, accept)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    def _may_read(self, request: web.Request) -> bool:
        peer = request.remote or ""
        if not is_trusted(peer, self._trusted) and any(name in request.headers for name in _FORWARDING):
            return False
        forwarded_for = request.headers.getall(_FORWARDED_FOR, [])
        return is_trusted(find_client_address(peer, forwarded_for, self._trusted), self._networks)
