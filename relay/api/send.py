"""POST /v1.0/send/: where a push comes in."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from relay.core.idempotency import IDEMPOTENCY_HEADER, IdempotencyDigests
from relay.http.authentication import authenticate
from relay.http.requests import answer, read_json, route
from relay.service.rate_limits import Rates
from relay.service.submission import Submitter
from relay.service.waiting import APPLIED, PREFER, Waiting, seconds_to_wait
from relay.store.accounts.api_tokens import PushToken


class SendApi:
    """Checks a request at the door and hands it on. What is wrong is refused before anything is stored."""

    def __init__(
        self, submitter: Submitter, digests: IdempotencyDigests, waiting: Waiting, rates: Rates
    ) -> None:
        self._submitter = submitter
        self._digests = digests
        self._waiting = waiting
        self._rates = rates

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield from route("POST", "/v1.0/send/", self.send)

    async def send(self, request: web.Request) -> web.Response:
        """Accept a push: 202 once it is durable, or 200 if it ended while the caller preferred to wait."""
        token = await authenticate(request, PushToken)
        headers = self._rates.take(token)
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
                headers[APPLIED] = f"wait={seconds}"
                ended = await self._waiting.outcome(token.app_id, accepted.push_id, seconds)
                if ended is not None:
                    whole = {**msgspec.json.decode(accepted.answer), "push": ended}
                    return answer(whole, headers=headers)
        return answer(msgspec.Raw(accepted.answer), status=202, headers=headers)
