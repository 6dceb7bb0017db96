"""Answers as bytes of HTTP/1.1, where aiohttp has no request to answer, or would take too long."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from http import HTTPStatus

from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time

from relay.core.errors import RelayError
from relay.http.problems import PROBLEM_TYPE, encode_problem
from relay.telemetry.logs import get_logger
from relay.telemetry.request_ids import HEADER, REQUEST_ID, new_request_id

DEFAULT_HEADERS = (
    (hdrs.SERVER, "push-relay"),
    ("X-Content-Type-Options", "nosniff"),
    (hdrs.CACHE_CONTROL, "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""The headers of every answer that does not set them itself."""
_DEFAULT_HEADER_LINES = "".join(f"{name}: {value}\r\n" for name, value in DEFAULT_HEADERS)
_log = get_logger(__name__)


def encode_response(
    status: int, content_type: str, body: bytes, request_id: str, headers: Mapping[str, str]
) -> bytes:
    """Return a whole answer in HTTP/1.1. `headers` are not escaped, so they must not hold a caller's text."""
    more = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\n"
        f"{HEADER}: {request_id}\r\n{more}{_DEFAULT_HEADER_LINES}\r\n"
    )
    return head.encode() + body


def encode_refusal(error: RelayError) -> bytes:
    """Return the answer to an error outside of any request. The connection must be closed after it."""
    return Context().run(_encode_refusal, error)  # the event loop's own context is shared by all connections


def _encode_refusal(error: RelayError) -> bytes:
    request_id = new_request_id()
    REQUEST_ID.set(request_id)
    _log.debug("a connection is refused", status=error.status, reason=error.detail)
    headers = {**error.headers, hdrs.CONNECTION: "close"}
    return encode_response(error.status, PROBLEM_TYPE, encode_problem(error), request_id, headers)
