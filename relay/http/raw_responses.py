"""Answers that are written as they go over the wire, where aiohttp has no request to answer, or would take too long."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from http import HTTPStatus

from aiohttp import hdrs
from aiohttp.helpers import rfc822_formatted_time

from relay.core.errors import RelayError
from relay.http.requests import PROBLEM, problem_body
from relay.telemetry.logs import get_logger
from relay.telemetry.request_ids import HEADER, REQUEST_ID, new_request_id

HEADERS = (
    (hdrs.SERVER, "push-relay"),
    ("X-Content-Type-Options", "nosniff"),
    (hdrs.CACHE_CONTROL, "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""On every answer that does not say otherwise itself."""
_HEADERS = "".join(f"{name}: {value}\r\n" for name, value in HEADERS)
_log = get_logger(__name__)


def on_the_wire(
    status: int, content_type: str, body: bytes, request_id: str, headers: Mapping[str, str]
) -> bytes:
    """A whole answer in HTTP/1.1. The names and values of `headers` are ours; nothing in them is escaped."""
    more = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\n"
        f"{HEADER}: {request_id}\r\n{more}{_HEADERS}\r\n"
    )
    return head.encode() + body


def refusal(error: RelayError) -> bytes:
    """An answer outside of any request, after which the connection is closed."""
    return Context().run(_refusal, error)  # the loop's own context is everybody's


def _refusal(error: RelayError) -> bytes:
    request_id = new_request_id()
    REQUEST_ID.set(request_id)
    _log.debug("a connection is refused", status=error.status, reason=error.detail)
    headers = {**error.headers, hdrs.CONNECTION: "close"}
    return on_the_wire(error.status, PROBLEM, problem_body(error), request_id, headers)
