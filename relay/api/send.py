"""POST /v1.0/send/: where a push comes in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.core.errors import RelayError, Unavailable
from relay.core.idempotency import HEADER, IdempotencyDigests, IdempotencyKey
from relay.core.push.request import Accepted, Acceptor
from relay.http import requests as http
from relay.http.request_log import log_accepted
from relay.service.rate_limits import Rates
from relay.service.validation import SendCheck
from relay.service.waiting import APPLIED, PREFER, Waiting, seconds_to_wait
from relay.store.accounts.auth import ApiToken
from relay.store.push.idempotency import IdempotencyKeys


class Submitter:
    """Takes a push in, or finds what was answered when its Idempotency-Key was used before."""

    def __init__(self, check: SendCheck, acceptor: Acceptor, keys: IdempotencyKeys) -> None:
        self._check = check
        self._acceptor = acceptor
        self._keys = keys

    async def submit(
        self, body: Any, token: ApiToken, key: IdempotencyKey | None, *, sent_by: UUID | None = None
    ) -> Accepted:
        """What is answered now or, where the key was used before, what was answered then.

        `body` is JSON that nobody has looked at, `sent_by` the publisher who sends by hand. Raises Forbidden, Invalid
        and Unavailable.
        """
        try:
            request = await self._check.check(body, token)
            request.key, request.sent_by = key, sent_by
            accepted = await self._acceptor.accept(request)
        except RelayError as error:
            return await self.stored_answer_or_raise(error, token.app_id, key)
        if accepted is None:
            return await self.stored_answer_or_raise(None, token.app_id, key)
        log_accepted(request)
        return accepted

    async def stored_answer_or_raise(
        self, refused: RelayError | None, app_id: str | None, key: IdempotencyKey | None
    ) -> Accepted:
        """What is answered where nothing was stored: what was answered when the key was used before.

        What was sent once is answered as it was, also if it could not be sent any more. Otherwise raises `refused`,
        or Unavailable if that is None.
        """
        earlier = None
        if key is not None and app_id is not None:
            earlier = await self._keys.answered(app_id, key)
        if earlier is None:
            gone = "The time of this Idempotency-Key ended just now; nothing was stored."
            raise refused or Unavailable(gone)
        return earlier


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
        yield from http.route("POST", "/v1.0/send/", self.send)

    async def send(self, request: web.Request) -> web.Response:
        """Accept a push: 202 once it is durable, or 200 if it ended while the caller preferred to wait."""
        token = await http.authenticate(request, "push")
        assert token.app_id is not None  # every push_ token is stored with its app
        headers = self._rates.take(token)
        body = await http.read_json(request)
        key = None
        if HEADER in request.headers:
            key = self._digests.of(request.headers.getall(HEADER), token.token_id, await request.read())
        accepted = await self._submitter.submit(body, token, key)
        if PREFER in request.headers:
            seconds = seconds_to_wait(request.headers.getall(PREFER))
            if seconds is not None:
                headers[APPLIED] = f"wait={seconds}"
                ended = await self._waiting.outcome(token.app_id, accepted.push_id, seconds)
                if ended is not None:
                    whole = {**msgspec.json.decode(accepted.answer), "push": ended}
                    return http.answer(whole, headers=headers)
        return http.answer(msgspec.Raw(accepted.answer), status=202, headers=headers)
