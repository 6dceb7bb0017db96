"""A publisher's server for tests: it accepts or refuses webhook messages and verifies their signatures."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from relay.core.webhooks.signatures import verify_message
from tests.eventually import eventually

PATIENCE = 180.0


@dataclass
class Message:
    id: str
    path: str
    type: str
    data: dict[str, Any]


@dataclass
class Receiver:
    """A receiver of webhooks.

    `secrets` verify signatures, by path. `answers` are the first statuses of a path, `always` its later ones (default
    204). Paths in `hangs` never answer.
    """

    tls: ssl.SSLContext | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    always: dict[str, int] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)
    messages: list[Message] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)

    async def __aenter__(self) -> Receiver:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._take)
        # A request that the relay has cancelled must not count as open.
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await self._site.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def url(self, path: str = "", host: str = "127.0.0.1") -> str:
        port = self._runner.addresses[0][1]
        return f"{'https' if self.tls else 'http'}://{host}:{port}/{path}"

    async def _take(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.requests[path] += 1
        self.at_once[path] += 1
        self.most_at_once[path] = max(self.most_at_once[path], self.at_once[path])
        try:
            body = await request.read()
            if path in self.hangs:
                await asyncio.sleep(PATIENCE)  # plays a publisher that never answers
            status = self.answers[path].pop(0) if self.answers[path] else self.always.get(path, 204)
            if 300 <= status < 400:
                return web.Response(status=status, headers={"Location": self.url("elsewhere")})
            if status == 204:
                self._note(request, path, body)
            return web.Response(status=status)
        finally:
            self.at_once[path] -= 1

    def _note(self, request: web.Request, path: str, body: bytes) -> None:
        if path in self.secrets:
            # Verified at the time of the message: the clock of a node may be ahead in a test.
            sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
            verify_message(self.secrets[path], request.headers, body, sent_at)
        message = json.loads(body)
        assert request.content_type == "application/json"
        assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None
        self.messages.append(Message(request.headers["webhook-id"], path, message["type"], message["data"]))

    def of(self, event: str, path: str | None = None) -> list[dict[str, Any]]:
        """Return the data of all messages of a type, optionally of one path."""
        return [
            message.data
            for message in self.messages
            if message.type == event and path in (None, message.path)
        ]

    async def got(self, count: int) -> list[Message]:
        """Return all messages once `count` different ones have arrived. The relay repeats those answered late."""
        await eventually(lambda: len({message.id for message in self.messages}) >= count)
        return self.messages
