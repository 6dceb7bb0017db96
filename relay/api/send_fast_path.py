"""The fast path of POST /v1.0/send/: the usual push needs no request object, no router and no task.

The usual push has a small body that arrived with its head, a token that is cached, nothing wrong, and no optional
header but Idempotency-Key. It is checked where it arrives, and the commit that stores it writes its answer. Every
other request goes to `SendApi`, which alone decides what is wrong with a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

from aiohttp import HttpVersion11, hdrs
from aiohttp.http_parser import RawRequestMessage

from relay.core import idempotency, strict_json
from relay.core.errors import RelayError
from relay.core.push.request import Accepted, Acceptor, PushRequest, SubmitResult
from relay.http.authentication import parse_bearer
from relay.http.fast_path import FastPath
from relay.http.problems import PROBLEM_TYPE, encode_problem, log_unexpected
from relay.http.raw_responses import encode_response
from relay.http.request_log import is_logged, log_answered
from relay.http.request_metrics import observe_request
from relay.http.requests import JSON_TYPE
from relay.service.sending import SendingServices
from relay.service.submission import log_accepted
from relay.service.waiting import PREFER
from relay.store.accounts.api_tokens import PushToken
from relay.store.accounts.token_cache import TokenCache
from relay.telemetry.request_ids import HEADER, REQUEST_ID, request_id

MAX_BODY_BYTES = 16 * 1024
"""The largest body. Checking a larger one at once would delay all other requests for too long."""
_METHOD, _ROUTE = "POST", "/v1.0/send/"
_PATHS = (_ROUTE, _ROUTE.rstrip("/"))
_UNSUPPORTED_HEADERS = (PREFER, hdrs.EXPECT, hdrs.CONTENT_ENCODING)


class SendFastPath(FastPath):
    """The fast path for pushes."""

    def __init__(self, token_cache: TokenCache, acceptor: Acceptor, sending: SendingServices) -> None:
        self._token_cache = token_cache
        self._acceptor = acceptor
        self._check = sending.check
        self._submitter = sending.submitter
        self._digests = sending.digests
        self._rates = sending.push_rates
        self._look_ups: set[asyncio.Task[None]] = set()

    def may_take_request(self, message: RawRequestMessage) -> bool:
        """Return whether the head is that of a usual push."""
        headers = message.headers
        return (
            message.method == _METHOD
            and message.path in _PATHS
            and message.version == HttpVersion11
            and not message.should_close
            and not message.upgrade
            and headers.get(hdrs.CONTENT_TYPE, JSON_TYPE) == JSON_TYPE
            and not any(name in headers for name in _UNSUPPORTED_HEADERS)
        )

    def take_request(
        self,
        message: RawRequestMessage,
        body: bytes,
        client_of: Callable[[RawRequestMessage], str],
        write: Callable[[bytes], None],
    ) -> bool:
        """Submit the push and return True, if it is a usual one. Otherwise return False, and nothing has happened."""
        text = parse_bearer(message.headers.get(hdrs.AUTHORIZATION, ""))
        token = self._token_cache.authenticate_cached_token(text)
        if not isinstance(token, PushToken) or not 0 < len(body) <= MAX_BODY_BYTES:
            return False
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            push = self._check.check_push_at_once(strict_json.decode(body), token)
            if push is None:
                return False
            if keys := message.headers.getall(idempotency.IDEMPOTENCY_HEADER, ()):
                push.key = self._digests.read_key(keys, token.token_id, body)
            # A caller beyond its limit is not counted here: `SendApi` counts it.
            headers = self._rates.count_request(token)
        except Exception:
            return False  # `SendApi` meets the error again, and answers it
        answer = _FastAnswer(message, push, headers, client_of, began, write)

        def finish(result: SubmitResult) -> None:
            if push.key is None or isinstance(result, Accepted):
                answer(result)
            else:
                look_up = loop.create_task(self._look_up_answer(result, push, answer), context=Context())
                self._look_ups.add(look_up)
                look_up.add_done_callback(self._look_ups.discard)

        try:
            self._acceptor.submit(push, finish)
        except RelayError as error:
            loop.call_soon(finish, error)
        return True

    async def _look_up_answer(
        self, refused: RelayError | None, push: PushRequest, answer: _FastAnswer
    ) -> None:
        """Answer a push that was not stored: as before, if its Idempotency-Key was used, else with `refused`."""
        result: SubmitResult
        try:
            result = await self._submitter.stored_answer_or_raise(refused, push.app_id, push.key)
        except RelayError as error:
            result = error
        except Exception as error:
            log_unexpected(error)
            result = RelayError()
        answer(result)


class _FastAnswer:
    """The answer to a push that waits for its commit. It is called once, with the result."""

    __slots__ = ("_began", "_client_of", "_headers", "_message", "_push", "_write")

    def __init__(
        self,
        message: RawRequestMessage,
        push: PushRequest,
        headers: dict[str, str],
        client_of: Callable[[RawRequestMessage], str],
        began: float,
        write: Callable[[bytes], None],
    ) -> None:
        self._message = message
        self._push = push
        self._headers = headers
        self._client_of = client_of
        self._began = began
        self._write = write

    def __call__(self, result: SubmitResult) -> None:
        Context().run(self._answer, result)

    def _answer(self, result: SubmitResult) -> None:
        own_id = request_id(self._message.headers.getall(HEADER, ()))
        REQUEST_ID.set(own_id)
        if isinstance(result, Accepted):
            status = 202
            answer = encode_response(status, JSON_TYPE, result.answer, own_id, self._headers)
            if result.push_id == self._push.push_id:  # else this is the answer to an earlier push
                log_accepted(self._push)
        else:
            error = result or RelayError()
            status = error.status
            answer = encode_response(status, PROBLEM_TYPE, encode_problem(error), own_id, error.headers)
        self._write(answer)
        observe_request(_ROUTE, _METHOD, status, asyncio.get_running_loop().time() - self._began)
        if is_logged(status):
            client = self._client_of(self._message)
            log_answered(_METHOD, self._message.path, status, self._began, self._push.token_id, client)
