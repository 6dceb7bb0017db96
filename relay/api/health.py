"""Whether the relay lives, and whether it can work."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from relay.core.errors import Unavailable
from relay.http.requests import answer
from relay.store.database import Database


class HealthApi:
    """`/healthz`: the process answers. `/readyz`: it can work, because the database answers and can be written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.started = False
        """Whether the schema is there and this node works."""

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield web.get("/healthz", self.healthz)
        yield web.get("/readyz", self.readyz)

    async def healthz(self, _: web.Request) -> web.Response:
        """Always 200 while the process runs."""
        return answer({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """200, or 503 while the database is away."""
        if not self.started:
            raise Unavailable("The node is starting, or waits for its database.")
        await self._database.ready()
        return answer({"status": "ok"})
