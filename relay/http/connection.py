"""The connections of the HTTP server: what each may take of the relay, who answers its requests, and in which form.

aiohttp limits neither the time in which the head of a request must arrive, nor that in which an answer must be taken,
nor the number of connections. What it cannot parse it answers as plain text, and logs with the bytes of the request,
which may be those of a token. And it starts a task for each request, which the usual push does without (`express`).
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from relay.api.send_fast_path import EXPRESS, SendFastPath
from relay.core.errors import (
    ExpectationFailed,
    HeadTooLarge,
    MalformedRequest,
    RelayError,
    RequestTimeout,
    Unavailable,
)
from relay.core.ip_addresses import find_client_address
from relay.http.raw_responses import HEADERS, refusal
from relay.http.request_log import begin, note
from relay.http.requests import log_unexpected, problem
from relay.settings import HttpSettings
from relay.telemetry.logs import get_logger
from relay.telemetry.request_ids import HEADER

MOST_HEADERS = 64
MOST_HEAD = 32 * 1024
"""Bytes of a head that does not arrive at once."""
OTHER_FILES = 512
"""File descriptors that are kept for everything but the callers."""
_log = get_logger(__name__)


class Runner(web.AppRunner):
    """Serves an application, as web.AppRunner does, within limits."""

    __slots__ = ("_limits",)

    def __init__(
        self, application: web.Application, limits: HttpSettings, *, shutdown_timeout: float
    ) -> None:
        super().__init__(application, shutdown_timeout=shutdown_timeout)
        self._limits = limits

    async def _make_server(self) -> web.Server:
        _allow_files(self._limits.max_connections + OTHER_FILES)
        made = await super()._make_server()
        return _Server(made, self._limits, self.app.get(EXPRESS))


def _allow_files(wanted: int) -> None:
    """Let this process open as many files as `wanted`, or as many as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Server(web.Server):
    """Makes the connections, and counts those that are open."""

    def __init__(self, like: web.Server, limits: HttpSettings, express: SendFastPath | None) -> None:
        super().__init__(like.request_handler, request_factory=like.request_factory)
        self.limits = limits
        self.express = express
        self.proxies = limits.proxies()
        self.open = 0

    def __call__(self) -> HttpConnection:
        return HttpConnection(self, self.limits, loop=self._loop)


class HttpConnection(web.RequestHandler):
    """One connection, within the time and the bytes that the settings allow."""

    __slots__ = (
        "_admitted",
        "_answered",
        "_aside",
        "_body",
        "_express",
        "_head_size",
        "_head_timer",
        "_heads",
        "_in_express",
        "_limits",
        "_server",
        "_wire",
        "_write_timer",
    )

    def __init__(self, server: _Server, limits: HttpSettings, *, loop: asyncio.AbstractEventLoop) -> None:
        # A body is never decompressed: `read_json` refuses it by its header, and the unread is thrown away as it is.
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # it means none
            auto_decompress=False,
            max_headers=MOST_HEADERS,
        )
        self._server = server
        self._limits = limits
        self._express = server.express
        self._in_express = False
        self._aside: list[Any] = []
        """Requests of which it is not known yet who answers them."""
        self._answered: asyncio.Future[None] | None = None
        self._admitted = False
        self._wire: asyncio.Transport | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._heads = 0
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        wire = self._wire = cast(asyncio.Transport, transport)
        if self._server.open >= self._limits.max_connections:
            self.force_close()  # from here on what comes is ignored
            wire.write(refusal(Unavailable("There are too many connections.")))
            wire.close()
            return
        self._admitted = True
        self._server.open += 1
        wire.set_write_buffer_limits(high=0)  # so `pause_writing` tells of every byte that waits
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Its place is free."""
        self._server.open -= self._admitted
        self._admitted = False
        self._head_arrived()
        self._answer_is_taken()
        super().connection_lost(exc)

    # --- the head of a request: from the connection or its first byte to its end ---

    def data_received(self, data: bytes) -> None:
        """Bytes of a request's head or body."""
        body = self._body
        more_body = not body.is_eof()
        self._messages.extend(self._aside)
        self._aside.clear()
        # aiohttp wakes its task for the request, unless it finds nobody waiting.
        idle, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = idle
        if self._request_count != self._heads:
            self._heads = self._request_count
            self._head_arrived()
            if more_body and not body.is_eof() and body.exception() is None:
                # What follows is no request but a body that broke off. aiohttp tells nobody who waits for it.
                body.set_exception(web.RequestPayloadError("broken off"))
            if self._messages:
                self._body = self._messages[-1][1]
        elif data and not more_body:
            self._expect_head()
            self._head_size += len(data)
            if self._head_size > MOST_HEAD:
                self._refuse(HeadTooLarge(f"The head is larger than {MOST_HEAD} bytes."))
        if idle is not None:
            self._serve()
        elif data and self._messages and not self._request_in_progress:
            # aiohttp's task has answered and is about to wait. What it would find it would take.
            self._aside.extend(self._messages)
            self._messages.clear()
            self._loop.call_soon(self._serve_aside)

    # --- who answers it ---

    def _serve(self) -> None:
        """Hand the next request to the express lane or, if it is none for that, to aiohttp's task. One at a time."""
        idle = self._waiter
        if not self._messages or self._in_express or idle is None or idle.done():
            return
        if not self._goes_by_express():
            idle.set_result(None)

    def _serve_aside(self) -> None:
        self._messages.extend(self._aside)
        self._aside.clear()
        self._serve()

    def _goes_by_express(self) -> bool:
        message, payload = self._messages[0]
        if (
            self._express is None
            or self.writing_paused
            or not payload.is_eof()
            or not isinstance(message, RawRequestMessage)
            or not self._express.may_take(message)
        ):
            return False
        self._in_express = True  # from here on: reading the body may let in what has been held back behind it
        body = payload.read_nowait()
        if not self._express.take(message, body, self._client, self._write_express):
            self._in_express = False
            again = StreamReader(self, self._read_bufsize, loop=self._loop)
            again.feed_data(body)
            again.feed_eof()
            self._messages[0] = message, again
            return False
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._messages.popleft()
        # As aiohttp's task does for what it takes from there.
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return True

    def _client(self, message: RawRequestMessage) -> str:
        peer = self.peername
        remote = str(peer[0] if isinstance(peer, tuple | list) else peer or "")
        return find_client_address(
            remote, message.headers.getall("X-Forwarded-For", ()), self._server.proxies
        )

    def _write_express(self, answer: bytes) -> None:
        self._in_express = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
        if self._close:
            self.force_close()
        self._serve()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """End, after what is under way has been answered, if that is within `timeout` seconds."""
        if self._in_express:
            self._answered = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._answered
        await super().shutdown(timeout)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(self._limits.header_timeout, self._head_is_late)

    def _head_arrived(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._request_count == self._heads:
            self._refuse(RequestTimeout("The head did not arrive in time."))

    def _refuse(self, error: RelayError) -> None:
        """End a connection on which half a head has come: with an answer, unless another one is being written."""
        if self._waiter is not None and not self._in_express and self.transport is not None:
            self.transport.write(refusal(error))
            self.force_close()
        else:
            self.close()

    # --- answers ---

    def pause_writing(self) -> None:
        """The caller does not take what it asked for."""
        super().pause_writing()
        assert self._wire is not None
        self._write_timer = self._loop.call_later(self._limits.answer_timeout, self._wire.abort)

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        self._answer_is_taken()

    def _answer_is_taken(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Every answer to a request passes here, aiohttp's own too."""
        request_id = begin(request)
        if isinstance(resp, web.HTTPException):
            known = isinstance(resp, web.HTTPExpectationFailed)
            resp = problem(ExpectationFailed("Only 100-continue is known.") if known else RelayError())
        if resp.status == HTTPStatus.REQUEST_TIMEOUT:
            resp.force_close()
        resp.headers.setdefault(HEADER, request_id)
        for name, value in HEADERS:
            resp.headers.setdefault(name, value)
        note(request, resp.status, self._server.proxies)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what cannot be parsed, and to what `problems` did not catch. The connection ends with it."""
        begin(request)
        self.log_exception(exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun; there cannot be another.")
        response = problem(_refusal(exc) if status == HTTPStatus.BAD_REQUEST else RelayError())
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an error by its type and place. What a caller did wrong is logged for debugging only."""
        error = kw.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError):
            _log.debug("this is no request", error=type(error).__name__)
        elif isinstance(error, BaseException):
            log_unexpected(error)


def _refusal(error: BaseException | None) -> RelayError:
    if isinstance(error, LineTooLong):
        return HeadTooLarge("The request line or a header is longer than 8190 bytes.")
    if type(error) is BadHttpMessage:  # its first line says what is wrong; the others quote the request
        what = error.message.partition("\n")[0].rstrip(":.")
        if what == "Too many headers received":
            return HeadTooLarge(f"There are more than {MOST_HEADERS} headers.")
        return MalformedRequest(f"This is not HTTP/1.1: {what}.")
    return MalformedRequest("This is not HTTP/1.1.")
