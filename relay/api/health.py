"""`/healthz` and `/readyz`: the health of the process and of its database."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from relay.core.errors import Unavailable
from relay.http.requests import answer
from relay.store.database import Database


class HealthApi:
    """Health checks for load balancers and container platforms."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.started = False
        """Whether the schema is migrated and the node has begun its work."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield web.get("/healthz", self.show_health)
        yield web.get("/readyz", self.show_readiness)

    async def show_health(self, _: web.Request) -> web.Response:
        """`GET /healthz`: 200 while the process runs."""
        return answer({"status": "ok"})

    async def show_readiness(self, _: web.Request) -> web.Response:
        """`GET /readyz`: 200 if the node has started and its database can be written; else 503."""
        if not self.started:
            raise Unavailable("The node is starting, or waits for its database.")
        await self._database.ready()
        return answer({"status": "ok"})
