"""What became of a push: counts, outcomes by device, and the trace for listed test devices.

A push token sees the pushes of its app, a manage token those of its publisher. Nothing here shows a device token, a
UDID or who the customer is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import asyncpg
from aiohttp import web

from relay.api import http
from relay.api.fields import uuid_in_path
from relay.api.pages import page_limit
from relay.errors import MalformedRequest, NotFound
from relay.store import pushes
from relay.store.auth import ApiToken
from relay.store.database import Connection, Database

OUTCOMES = ("delivered", "failed", "unregistered", "expired")


class PushesApi:
    """Reads pushes back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield from http.route("GET", "/v1.0/pushes/{push_id}/", self.push)
        yield from http.route("GET", "/v1.0/pushes/{push_id}/deliveries/", self.deliveries)
        yield from http.route("GET", "/v1.0/pushes/{push_id}/trace/", self.trace)

    async def push(self, request: web.Request) -> web.Response:
        """State and counts by outcome."""
        token = await http.authenticate(request, "push", "manage")
        async with self._database.connection() as connection:
            push = await self._find(connection, token, request)
            ended = await pushes.counts(connection, push["app_id"], push["push_id"])
        counts = Counter(dict.fromkeys(OUTCOMES, 0))
        reasons: Counter[str] = Counter()
        for outcome, reason, count in ended:
            counts[outcome] += count
            if outcome != "delivered":
                reasons[reason] += count
        done = sum(counts.values())
        pending = max(0, push["targets"] - done)
        open_ = pending or push["growing"]
        return http.answer(
            {
                "push_id": push["push_id"],
                "app_id": push["app_id"],
                "state": "done" if not open_ else "sending" if done else "queued",
                "created_at": push["created_at"],
                "expires_at": push["expires_at"],
                "push_type": push["push_type"],
                "priority": push["priority"],
                "expiration": push["expiration"],
                "collapse_id": push["collapse_id"],
                "debug": push["debug"],
                "targets": push["targets"],
                "counts": {**counts, "pending": pending, "skipped": push["skipped"]},
                "reasons": dict(reasons),
            }
        )

    async def deliveries(self, request: web.Request) -> web.Response:
        """A page of outcomes, about in the order in which they came; `next` is the cursor of the following page.

        Settlements commit beside one another, so while a push is not `done`, a page may still gain items; then the
        pages are final.
        """
        token = await http.authenticate(request, "push", "manage")
        limit = page_limit(request)
        after = _cursor(request)
        async with self._database.connection() as connection:
            push = await self._find(connection, token, request)
            rows = await pushes.deliveries(connection, push["app_id"], push["push_id"], after, limit + 1)
        page = rows[:limit]
        cursor = f"{page[-1]['delivery_id']}.{page[-1]['position']}" if len(rows) > limit else None
        return http.answer({"items": [_delivery(row) for row in page], "next": cursor})

    async def trace(self, request: web.Request) -> web.Response:
        """Everything about each attempt at the publisher's listed devices."""
        token = await http.authenticate(request, "push", "manage")
        async with self._database.connection() as connection:
            push = await self._find(connection, token, request)
            rows = await pushes.traces(connection, push["app_id"], push["push_id"])
        items = []
        for row in rows:
            record = json.loads(row["record"])
            record["payload"] = json.loads(record["payload"])
            route = {"customer": row["customer"], "device": row["device"], "alongside": row["alongside"]}
            items.append({"attempt": row["attempt"], "route": route, **record})
        return http.answer({"items": items})

    async def _find(self, connection: Connection, token: ApiToken, request: web.Request) -> asyncpg.Record:
        """The push of the path, if the caller may see it."""
        push_id = uuid_in_path(request.match_info["push_id"])
        if token.app_id is not None:
            push = await pushes.find(connection, [token.app_id], push_id)
        else:
            push = await pushes.find_of_publisher(connection, token.publisher_id, push_id)
        if push is None:
            raise NotFound("There is no such push.")
        return push


def _delivery(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "customer": row["customer"],
        "device": row["device"],
        "alongside": row["alongside"],
        "outcome": row["outcome"],
        "status": row["status"] or None,
        "reason": row["reason"] or None,
        "attempts": row["attempt"] + 1,
        "settled_at": row["settled_at"],
    }


def _cursor(request: web.Request) -> tuple[int, int]:
    text = request.query.get("cursor")
    if text is None:
        return 0, 0
    first, dot, second = text.partition(".")
    if not (dot and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise MalformedRequest("`cursor` is not one that this endpoint gave.")
    if len(first) > 18 or len(second) > 9:
        raise MalformedRequest("`cursor` is not one that this endpoint gave.")
    return int(first), int(second)
