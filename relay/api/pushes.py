"""`/v1.0/pushes/`: counts, outcomes and traces of a push, and its cancellation.

A push token is for the pushes of its app, a manage token for those of its publisher. No answer holds a device token, a
UDID or a customer reference.
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
from relay.service.app_access import AppAccess
from relay.service.report import report_push, report_traces
from relay.store.accounts.api_tokens import ManageToken, PushToken
from relay.store.database import Database
from relay.store.push.cancellation import CancellationRepository
from relay.store.push.records import DeliveryReport, StoredPush
from relay.store.push.reports import PushReportRepository


class PushesApi:
    """Endpoints for accepted pushes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._pushes = PushReportRepository(database)
        self._app_access = AppAccess(database)
        self._cancellations = CancellationRepository(database)
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("GET", "/v1.0/pushes/{push_id}/", self.show_push)
        yield from route("DELETE", "/v1.0/pushes/{push_id}/", self.cancel_push)
        yield from route("GET", "/v1.0/pushes/{push_id}/deliveries/", self.list_deliveries)
        yield from route("GET", "/v1.0/pushes/{push_id}/trace/", self.list_traces)

    async def show_push(self, request: web.Request) -> web.Response:
        """`GET /v1.0/pushes/{push_id}/`: 200 with state and counts by outcome."""
        token = await authenticate(request, PushToken, ManageToken)
        return await self._answer_push(token, request)

    async def cancel_push(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/pushes/{push_id}/`: 200 and the push. No more of it is sent; outcomes that exist stay."""
        token = await authenticate(request, PushToken, ManageToken)
        push = await self._push_in_path(token, request)
        await self._cancellations.cancel_push(
            push.app_id, push.push_id, token.publisher_id, self._clock.now(), token.actor
        )
        return await self._answer_push(token, request)

    async def _answer_push(self, token: PushToken | ManageToken, request: web.Request) -> web.Response:
        push = await self._push_in_path(token, request)
        return answer(await report_push(self._pushes, push))

    async def list_deliveries(self, request: web.Request) -> web.Response:
        """`GET /v1.0/pushes/{push_id}/deliveries/`: 200 and a page of outcomes, about in the order of settlement.

        Settlements commit concurrently. While a push is not `done`, a page that was read may still gain items.
        """
        token = await authenticate(request, PushToken, ManageToken)
        limit = page_limit(request)
        after = _cursor(request)
        push = await self._push_in_path(token, request)
        deliveries = await self._pushes.list_deliveries(push.app_id, push.push_id, after, limit + 1)
        page = deliveries[:limit]
        cursor = f"{page[-1].delivery_id}.{page[-1].position}" if len(deliveries) > limit else None
        return answer({"items": [_show_delivery(delivery) for delivery in page], "next": cursor})

    async def list_traces(self, request: web.Request) -> web.Response:
        """`GET /v1.0/pushes/{push_id}/trace/`: 200 with every attempt at the publisher's test devices."""
        token = await authenticate(request, PushToken, ManageToken)
        push = await self._push_in_path(token, request)
        return answer({"items": await report_traces(self._pushes, push)})

    async def _push_in_path(self, token: PushToken | ManageToken, request: web.Request) -> StoredPush:
        """Return the push of the path. Raises NotFound if the caller may not see it."""
        push_id = uuid_in_path(request.match_info["push_id"])
        push = await self._pushes.find_push(await self._app_access.list_app_ids(token), push_id)
        if push is None:
            raise NotFound("There is no such push.")
        return push


def _show_delivery(delivery: DeliveryReport) -> dict[str, Any]:
    return {
        "customer": delivery.customer,
        "device": delivery.device,
        "alongside": delivery.alongside,
        "outcome": delivery.outcome,
        "status": delivery.status or None,
        "reason": delivery.reason or None,
        # A cancelled delivery has no attempt after those that were counted.
        "attempts": delivery.attempt + (delivery.outcome is not Outcome.CANCELLED),
        "settled_at": delivery.settled_at,
    }


def _cursor(request: web.Request) -> tuple[int, int]:
    """Return the delivery id and position that `?cursor=` names, (0, 0) for the start."""
    text = request.query.get("cursor")
    if text is None:
        return 0, 0
    first, dot, second = text.partition(".")
    if not (dot and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise MalformedRequest("`cursor` is not one that this endpoint gave.")
    if len(first) > 18 or len(second) > 9:
        raise MalformedRequest("`cursor` is not one that this endpoint gave.")
    return int(first), int(second)
