"""Connections of the HTTP server: their limits, the choice between fast path and aiohttp, and the form of answers.

aiohttp limits neither the time in which the head of a request must arrive, nor the time in which an answer must be
taken, nor the number of connections. It answers what it cannot parse as plain text, and logs it with the bytes of the
request, which may hold a token. And it starts a task for each request, which the fast path does without.
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

from relay.core.errors import (
    ExpectationFailed,
    HeadTooLarge,
    MalformedRequest,
    RelayError,
    RequestTimeout,
    Unavailable,
)
from relay.core.ip_addresses import find_client_address
from relay.http.aiohttp_internals import QueueingConnection, ServerRunner
from relay.http.fast_path import FAST_PATH, FastPath
from relay.http.problems import answer_problem, log_unexpected
from relay.http.raw_responses import DEFAULT_HEADERS, encode_refusal
from relay.http.request_log import begin_request, log_request
from relay.settings import HttpSettings
from relay.telemetry.logs import get_logger
from relay.telemetry.request_ids import HEADER

MAX_HEADERS = 64
MAX_PARTIAL_HEAD_BYTES = 32 * 1024
"""The largest head that may arrive in several pieces."""
RESERVED_FILES = 512
"""File descriptors for everything but the connections of callers."""
_log = get_logger(__name__)


class HttpRunner(ServerRunner):
    """An `AppRunner` that serves an application within limits."""

    __slots__ = ("_limits",)

    def __init__(
        self, application: web.Application, limits: HttpSettings, *, shutdown_timeout: float
    ) -> None:
        super().__init__(application, shutdown_timeout=shutdown_timeout)
        self._limits = limits

    def replace_server(self, server: web.Server) -> web.Server:
        """Return a server whose connections have limits and a fast path."""
        _raise_file_limit(self._limits.max_connections + RESERVED_FILES)
        return HttpServer(server, self._limits, self.app.get(FAST_PATH))


def _raise_file_limit(needed: int) -> None:
    """Let this process open `needed` files, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


class HttpServer(web.Server):
    """The factory of connections. `open_connections` counts those that are open."""

    def __init__(self, original: web.Server, limits: HttpSettings, fast_path: FastPath | None) -> None:
        super().__init__(original.request_handler, request_factory=original.request_factory)
        self.limits = limits
        self.fast_path = fast_path
        self.trusted_proxies = limits.proxies()
        self.open_connections = 0
        self._event_loop = asyncio.get_running_loop()

    def __call__(self) -> HttpConnection:
        """Return a new connection. The event loop calls this for each one that it accepts."""
        return HttpConnection(self, self._event_loop)


class HttpConnection(QueueingConnection):
    """One connection, within the limits of time and size that the settings set."""

    __slots__ = (
        "_event_loop",
        "_fast_path",
        "_fast_path_done",
        "_head_size",
        "_head_timer",
        "_held_back",
        "_http_server",
        "_is_admitted",
        "_is_on_fast_path",
        "_last_body",
        "_limits",
        "_parsed_heads",
        "_raw_transport",
        "_write_timer",
    )

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        # Bodies are not decompressed: `read_json` refuses compressed ones, and an unread one is discarded as it is.
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp accepts None for no log
            auto_decompress=False,
            max_headers=MAX_HEADERS,
        )
        self._event_loop = loop
        self._http_server = server
        self._limits = server.limits
        self._is_admitted = False
        self._raw_transport: asyncio.Transport | None = None
        # --- the head that is arriving ---
        self._last_body: StreamReader = EMPTY_PAYLOAD
        self._parsed_heads = 0
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        # --- the choice between fast path and aiohttp's task ---
        self._fast_path = server.fast_path
        self._is_on_fast_path = False
        self._held_back: list[Any] = []
        """Requests that arrived while aiohttp's task was about to wait. They go to the fast path or to the task."""
        self._fast_path_done: asyncio.Future[None] | None = None
        """Done when the fast path has answered. It exists only during shutdown."""
        # --- the answer that is being written ---
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or refuse it if too many are open."""
        raw_transport = self._raw_transport = cast(asyncio.Transport, transport)
        if self._http_server.open_connections >= self._limits.max_connections:
            self.force_close()  # from here on, received bytes are ignored
            raw_transport.write(encode_refusal(Unavailable("There are too many connections.")))
            raw_transport.close()
            return
        self._is_admitted = True
        self._http_server.open_connections += 1
        raw_transport.set_write_buffer_limits(high=0)  # calls `pause_writing` as soon as a byte is not taken
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the place of the connection and its timers."""
        self._http_server.open_connections -= self._is_admitted
        self._is_admitted = False
        self._stop_head_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    # --- the head of a request, from the connection or its first byte to its end ---

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, check the size of an incomplete head, and serve requests that are complete."""
        body = self._last_body
        is_body_open = not body.is_eof()
        self._restore_held_back()
        is_waiting = self.is_task_waiting
        self.feed_without_waking(data)
        if self.parsed_requests != self._parsed_heads:
            self._parsed_heads = self.parsed_requests
            self._stop_head_timer()
            if is_body_open and not body.is_eof() and body.exception() is None:
                # The body broke off: these bytes are not part of it. aiohttp does not tell the reader of the body.
                body.set_exception(web.RequestPayloadError("broken off"))
            if self.has_queued_requests:
                self._last_body = self.last_body()
        elif data and not is_body_open:
            self._start_head_timer()
            self._head_size += len(data)
            if self._head_size > MAX_PARTIAL_HEAD_BYTES:
                self._refuse_head(HeadTooLarge(f"The head is larger than {MAX_PARTIAL_HEAD_BYTES} bytes."))
        if is_waiting:
            self._serve_next()
        elif data and self.has_queued_requests and not self.is_task_answering:
            # aiohttp's task has answered and is about to wait. It would take the requests that it finds in the queue.
            self._held_back.extend(self.take_queue())
            self._event_loop.call_soon(self._serve_held_back)

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self._event_loop.call_later(self._limits.header_timeout, self._time_out_head)

    def _stop_head_timer(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_out_head(self) -> None:
        self._head_timer = None
        if self.parsed_requests == self._parsed_heads:
            self._refuse_head(RequestTimeout("The head did not arrive in time."))

    def _refuse_head(self, error: RelayError) -> None:
        """Close a connection with an incomplete head. `error` is its answer, unless another one is being written."""
        if self.is_task_waiting and not self._is_on_fast_path and self.transport is not None:
            self.transport.write(encode_refusal(error))
            self.force_close()
        else:
            self.close()

    # --- the choice between fast path and aiohttp's task; one request at a time ---

    def _serve_next(self) -> None:
        if not self.has_queued_requests or self._is_on_fast_path or not self.is_task_idle:
            return
        if not self._take_fast_path():
            self.wake_task()

    def _serve_held_back(self) -> None:
        self._restore_held_back()
        self._serve_next()

    def _restore_held_back(self) -> None:
        if self._held_back:
            self.restore_queue(self._held_back)
            self._held_back.clear()

    def _take_fast_path(self) -> bool:
        """Offer the first request to the fast path. Returns whether it took the request."""
        message, payload = self.first_request()
        if (
            self._fast_path is None
            or self.writing_paused
            or not payload.is_eof()
            or not isinstance(message, RawRequestMessage)
            or not self._fast_path.may_take_request(message)
        ):
            return False
        # Set before the body is read: reading may resume parsing, which comes back here.
        self._is_on_fast_path = True
        body = payload.read_nowait()
        if not self._fast_path.take_request(message, body, self._client_of, self._write_fast_answer):
            self._is_on_fast_path = False
            self.unread_first_body(body)
            return False
        self.drop_first_request()
        return True

    def _client_of(self, message: RawRequestMessage) -> str:
        peer = self.peername
        remote = str(peer[0] if isinstance(peer, tuple | list) else peer or "")
        forwarded_for = message.headers.getall("X-Forwarded-For", ())
        return find_client_address(remote, forwarded_for, self._http_server.trusted_proxies)

    def _write_fast_answer(self, answer: bytes) -> None:
        self._is_on_fast_path = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)
        if self._fast_path_done is not None and not self._fast_path_done.done():
            self._fast_path_done.set_result(None)
        if self.is_closing:
            self.force_close()
        self._serve_next()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Close the connection. A request in progress is answered before, if that takes at most `timeout` seconds."""
        if self._is_on_fast_path:
            self._fast_path_done = self._event_loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._fast_path_done
        await super().shutdown(timeout)

    # --- answers ---

    def pause_writing(self) -> None:
        """Abort the connection if the caller does not take the answer in time."""
        super().pause_writing()
        assert self._raw_transport is not None
        self._write_timer = self._event_loop.call_later(
            self._limits.answer_timeout, self._raw_transport.abort
        )

    def resume_writing(self) -> None:
        """Stop the timer: the caller has taken all bytes."""
        super().resume_writing()
        self._stop_write_timer()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Complete and log an answer. Answers that aiohttp makes itself become problems."""
        request_id = begin_request(request)
        if isinstance(resp, web.HTTPException):
            is_expectation = isinstance(resp, web.HTTPExpectationFailed)
            error = ExpectationFailed("Only 100-continue is known.") if is_expectation else RelayError()
            resp = answer_problem(error)
        if resp.status == HTTPStatus.REQUEST_TIMEOUT:
            resp.force_close()
        resp.headers.setdefault(HEADER, request_id)
        for name, value in DEFAULT_HEADERS:
            resp.headers.setdefault(name, value)
        log_request(request, resp.status, self._http_server.trusted_proxies)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that cannot be parsed, or to an error outside of the middleware `problems`.

        The connection closes after it.

        Raises:
            ConnectionError: an answer has begun already.
        """
        begin_request(request)
        self.log_exception(exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun; there cannot be another.")
        is_bad_request = status == HTTPStatus.BAD_REQUEST
        response = answer_problem(_explain_bad_request(exc) if is_bad_request else RelayError())
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an error by its type and place. A caller's mistake is logged at level debug."""
        error = kw.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError):
            _log.debug("this is no request", error=type(error).__name__)
        elif isinstance(error, BaseException):
            log_unexpected(error)


def _explain_bad_request(error: BaseException | None) -> RelayError:
    if isinstance(error, LineTooLong):
        return HeadTooLarge("The request line or a header is longer than 8190 bytes.")
    if type(error) is BadHttpMessage:
        # The first line of its message names the fault. The others quote the request.
        mistake = error.message.partition("\n")[0].rstrip(":.")
        if mistake == "Too many headers received":
            return HeadTooLarge(f"There are more than {MAX_HEADERS} headers.")
        return MalformedRequest(f"This is not HTTP/1.1: {mistake}.")
    return MalformedRequest("This is not HTTP/1.1.")
