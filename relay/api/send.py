"""`/v1.0/send/`: the submission of pushes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from relay.core.idempotency import IDEMPOTENCY_HEADER
from relay.http.authentication import authenticate
from relay.http.requests import answer, read_json, route
from relay.service.sending import SendingServices
from relay.service.waiting import PREFER, PREFERENCE_APPLIED, OutcomeWaiter, seconds_to_wait
from relay.store.accounts.api_tokens import PushToken


class SendApi:
    """The endpoint that accepts pushes. A push that is not valid is refused before anything is stored."""

    def __init__(self, sending: SendingServices, waiter: OutcomeWaiter) -> None:
        self._submitter = sending.submitter
        self._digests = sending.digests
        self._rates = sending.push_rates
        self._waiter = waiter

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("POST", "/v1.0/send/", self.send_push)

    async def send_push(self, request: web.Request) -> web.Response:
        """`POST /v1.0/send/`: 202 once the push is durable.

        With `Prefer: wait=N`, 200 with counts by outcome if the push completes within N seconds.
        """
        token = await authenticate(request, PushToken)
        headers = self._rates.count_request(token)
        body = await read_json(request)
        key = None
        if IDEMPOTENCY_HEADER in request.headers:
            key = self._digests.read_key(
                request.headers.getall(IDEMPOTENCY_HEADER), token.token_id, await request.read()
            )
        accepted = await self._submitter.submit(body, token, key)
        if PREFER in request.headers:
            seconds = seconds_to_wait(request.headers.getall(PREFER))
            if seconds is not None:
                headers[PREFERENCE_APPLIED] = f"wait={seconds}"
                report = await self._waiter.wait_for_report(token.app_id, accepted.push_id, seconds)
                if report is not None:
                    body_with_report = {**msgspec.json.decode(accepted.answer), "push": report}
                    return answer(body_with_report, headers=headers)
        return answer(msgspec.Raw(accepted.answer), status=202, headers=headers)
