"""Answers as bytes of HTTP/1.1."""

from __future__ import annotations

import json
from email.parser import BytesHeaderParser

import pytest

from relay.core.errors import RelayError, RequestTimeout, TooManyRequests, Unavailable
from relay.http.raw_responses import DEFAULT_HEADERS, encode_refusal, encode_response
from relay.telemetry.request_ids import REQUEST_ID


def parse_response(data: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return the status line, the headers and the body."""
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, _, lines = head.partition(b"\r\n")
    headers = BytesHeaderParser().parsebytes(lines)
    assert len(headers) == len({name.lower() for name in headers}), "no header occurs twice"
    return status_line.decode(), dict(headers), body


def test_a_response_has_its_headers_and_the_default_ones() -> None:
    data = encode_response(202, "application/json", b"{}", "my-request-1", {"RateLimit": '"pushes";r=1;t=2'})
    status_line, headers, body = parse_response(data)
    assert (status_line, body) == ("HTTP/1.1 202 Accepted", b"{}")
    assert headers.pop("Date").endswith(" GMT")
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": "2",
        "X-Request-Id": "my-request-1",
        "RateLimit": '"pushes";r=1;t=2',
        **{str(name): value for name, value in DEFAULT_HEADERS},
    }


@pytest.mark.parametrize(
    ("error", "status_line"),
    [
        (RequestTimeout("The head is late."), "HTTP/1.1 408 Request Timeout"),
        (Unavailable("Too many connections."), "HTTP/1.1 503 Service Unavailable"),
        (RelayError(), "HTTP/1.1 500 Internal Server Error"),
    ],
)
def test_a_refusal_is_a_problem_and_closes_the_connection(error: RelayError, status_line: str) -> None:
    first_line, headers, body = parse_response(encode_refusal(error))
    problem = json.loads(body)
    assert (first_line, headers["Connection"]) == (status_line, "close")
    assert (problem["status"], problem["detail"]) == (error.status, error.detail)
    assert headers["X-Request-Id"] == problem["request_id"]


def test_a_refusal_has_the_headers_of_its_error() -> None:
    _, headers, _ = parse_response(encode_refusal(TooManyRequests("Wait.", headers={"Retry-After": "7"})))
    assert headers["Retry-After"] == "7"


def test_each_refusal_has_a_request_id_of_its_own() -> None:
    before = REQUEST_ID.get()
    ids = {parse_response(encode_refusal(RelayError()))[1]["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    assert REQUEST_ID.get() == before, "the id does not leave the refusal"
