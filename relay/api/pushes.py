"""What became of a push: counts, outcomes by device, and the trace for listed test devices; and the way to cancel it.

A push token is for the pushes of its app, a manage token for those of its publisher. Nothing here shows a device
token, a UDID or who the customer is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.core.clock import Clock
from relay.core.delivery.outcomes import Outcome
from relay.core.errors import MalformedRequest, NotFound
from relay.core.schema import uuid_in_path
from relay.http.authentication import authenticate
from relay.http.pagination import page_limit
from relay.http.requests import answer, route
from relay.service.report import report_push, report_traces
from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.database import Database
from relay.store.push.cancellation import CancellationRepository
from relay.store.push.records import DeliveryReport, StoredPush
from relay.store.push.reports import PushReportRepository


class PushesApi:
    """Reads pushes back, and cancels them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._pushes = PushReportRepository(database)
        self._cancellations = CancellationRepository(database)
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield from route("GET", "/v1.0/pushes/{push_id}/", self.push)
        yield from route("DELETE", "/v1.0/pushes/{push_id}/", self.cancel)
        yield from route("GET", "/v1.0/pushes/{push_id}/deliveries/", self.deliveries)
        yield from route("GET", "/v1.0/pushes/{push_id}/trace/", self.trace)

    async def push(self, request: web.Request) -> web.Response:
        """State and counts by outcome."""
        token = await authenticate(request, PushToken, ManageToken)
        return await self._show(token, request)

    async def cancel(self, request: web.Request) -> web.Response:
        """200 and the push, of which nothing more is begun. What has come to its end stays as it is."""
        token = await authenticate(request, PushToken, ManageToken)
        push = await self._find(token, request)
        await self._cancellations.cancel_push(
            push.app_id, push.push_id, token.publisher_id, self._clock.now(), token.actor
        )
        return await self._show(token, request)

    async def _show(self, token: PushToken | ManageToken, request: web.Request) -> web.Response:
        push = await self._find(token, request)
        return answer(await report_push(self._pushes, push))

    async def deliveries(self, request: web.Request) -> web.Response:
        """A page of outcomes, about in the order in which they came; `next` is the cursor of the following page.

        Settlements commit beside one another, so while a push is not `done`, a page may still gain items; then the
        pages are final.
        """
        token = await authenticate(request, PushToken, ManageToken)
        limit = page_limit(request)
        after = _cursor(request)
        push = await self._find(token, request)
        deliveries = await self._pushes.list_deliveries(push.app_id, push.push_id, after, limit + 1)
        page = deliveries[:limit]
        cursor = f"{page[-1].delivery_id}.{page[-1].position}" if len(deliveries) > limit else None
        return answer({"items": [_delivery(delivery) for delivery in page], "next": cursor})

    async def trace(self, request: web.Request) -> web.Response:
        """Everything about each attempt at the publisher's listed devices."""
        token = await authenticate(request, PushToken, ManageToken)
        push = await self._find(token, request)
        return answer({"items": await report_traces(self._pushes, push)})

    async def _find(self, token: PushToken | ManageToken, request: web.Request) -> StoredPush:
        """The push of the path, if the caller may see it."""
        push_id = uuid_in_path(request.match_info["push_id"])
        if isinstance(token, PushToken):
            push = await self._pushes.find_push([token.app_id], push_id)
        else:
            push = await self._pushes.find_push_of_publisher(token.publisher_id, push_id)
        if push is None:
            raise NotFound("There is no such push.")
        return push


def _delivery(delivery: DeliveryReport) -> dict[str, Any]:
    return {
        "customer": delivery.customer,
        "device": delivery.device,
        "alongside": delivery.alongside,
        "outcome": delivery.outcome,
        "status": delivery.status or None,
        "reason": delivery.reason or None,
        "attempts": delivery.attempt
        + (delivery.outcome is not Outcome.CANCELLED),  # it waited for an attempt that was not made
        "settled_at": delivery.settled_at,
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
