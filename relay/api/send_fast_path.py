"""The express lane of POST /v1.0/send/: the usual push needs no request object, no router and no task.

Most pushes are alike: a small body that has come with its head, a token that is remembered, nothing wrong and nothing
asked beyond but an Idempotency-Key. Such a one is checked where it arrives, and the commit that stores it writes the
answer. All others are left to `SendApi`: what is wrong with a request is decided there only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_parser import RawRequestMessage

from relay.core import idempotency, strict_json
from relay.core.errors import RelayError
from relay.core.idempotency import IdempotencyDigests
from relay.core.push.request import Accepted, Acceptor, PushRequest, SubmitResult
from relay.http.raw_responses import on_the_wire
from relay.http.request_log import is_noted, log_answered
from relay.http.request_metrics import observe
from relay.http.requests import JSON, PROBLEM, bearer_in, log_unexpected, problem_body
from relay.service.rate_limits import Rates
from relay.service.submission import Submitter, log_accepted
from relay.service.validation import SendCheck
from relay.service.waiting import PREFER
from relay.store.accounts.api_tokens import PushToken
from relay.store.accounts.token_cache import TokenCache
from relay.telemetry.request_ids import HEADER, REQUEST_ID, request_id

LARGEST = 16 * 1024
"""Bytes of a body. The work for a larger one would keep the others waiting for too long."""
_METHOD, _ROUTE = "POST", "/v1.0/send/"
_PATHS = (_ROUTE, _ROUTE.rstrip("/"))
_ASKS_FOR_MORE = (PREFER, hdrs.EXPECT, hdrs.CONTENT_ENCODING)


class SendFastPath:
    """Takes the usual pushes in."""

    def __init__(
        self,
        tokens: TokenCache,
        check: SendCheck,
        acceptor: Acceptor,
        submitter: Submitter,
        digests: IdempotencyDigests,
        rates: Rates,
    ) -> None:
        self._tokens = tokens
        self._check = check
        self._acceptor = acceptor
        self._submitter = submitter
        self._digests = digests
        self._rates = rates
        self._looking_up: set[asyncio.Task[None]] = set()

    @staticmethod
    def may_take(message: RawRequestMessage) -> bool:
        """Whether the head of a request is that of a usual push, so that looking at its body is worth while."""
        headers = message.headers
        return (
            message.method == _METHOD
            and message.path in _PATHS
            and message.version == HttpVersion11
            and not message.should_close
            and not message.upgrade
            and headers.get(hdrs.CONTENT_TYPE, JSON) == JSON
            and not any(name in headers for name in _ASKS_FOR_MORE)
        )

    def take(
        self,
        message: RawRequestMessage,
        body: bytes,
        client: Callable[[RawRequestMessage], str],
        write: Callable[[bytes], None],
    ) -> bool:
        """Whether this push is taken in; then `write` is given the whole answer, once, later.

        Otherwise nothing has happened. `client` says who sent it.
        """
        token = self._tokens.authenticate_cached_token(bearer_in(message.headers.get(hdrs.AUTHORIZATION, "")))
        if not isinstance(token, PushToken) or not 0 < len(body) <= LARGEST:
            return False
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            push = self._check.check_at_once(strict_json.decode(body), token)
            if push is None:
                return False
            if keys := message.headers.getall(idempotency.IDEMPOTENCY_HEADER, ()):
                push.key = self._digests.read_key(keys, token.token_id, body)
            headers = self._rates.take(token)  # who asks too often is not counted
        except Exception:
            return False  # it comes again where there is an answer to it
        answer = _Answer(message, push, headers, client, began, write)

        def done(outcome: SubmitResult) -> None:
            if push.key is None or isinstance(outcome, Accepted):
                answer(outcome)
            else:
                looking_up = loop.create_task(self._look_up(outcome, push, answer), context=Context())
                self._looking_up.add(looking_up)
                looking_up.add_done_callback(self._looking_up.discard)

        try:
            self._acceptor.submit(push, done)
        except RelayError as error:
            loop.call_soon(done, error)
        return True

    async def _look_up(self, refused: RelayError | None, push: PushRequest, answer: _Answer) -> None:
        """Its key may have been used before: then it is answered as it was."""
        outcome: SubmitResult
        try:
            outcome = await self._submitter.stored_answer_or_raise(refused, push.app_id, push.key)
        except RelayError as error:
            outcome = error
        except Exception as error:
            log_unexpected(error)
            outcome = RelayError()
        answer(outcome)


EXPRESS = web.AppKey("express", SendFastPath)
"""By this the connections find it; without it there is none."""


class _Answer:
    """Answers a push that waits for its commit, when it is called with what became of it."""

    __slots__ = ("_began", "_client", "_headers", "_message", "_push", "_write")

    def __init__(
        self,
        message: RawRequestMessage,
        push: PushRequest,
        headers: dict[str, str],
        client: Callable[[RawRequestMessage], str],
        began: float,
        write: Callable[[bytes], None],
    ) -> None:
        self._message = message
        self._push = push
        self._headers = headers
        self._client = client
        self._began = began
        self._write = write

    def __call__(self, outcome: SubmitResult) -> None:
        Context().run(self._answer, outcome)

    def _answer(self, outcome: SubmitResult) -> None:
        own_id = request_id(self._message.headers.getall(HEADER, ()))
        REQUEST_ID.set(own_id)
        if isinstance(outcome, Accepted):
            status = 202
            answer = on_the_wire(status, JSON, outcome.answer, own_id, self._headers)
            if outcome.push_id == self._push.push_id:  # else it was accepted some time ago
                log_accepted(self._push)
        else:
            error = outcome or RelayError()
            status = error.status
            answer = on_the_wire(status, PROBLEM, problem_body(error), own_id, error.headers)
        self._write(answer)
        observe(_ROUTE, _METHOD, status, asyncio.get_running_loop().time() - self._began)
        if is_noted(status):
            client = self._client(self._message)
            log_answered(_METHOD, self._message.path, status, self._began, self._push.token_id, client)
