"""The errors that callers see: their status, code, title and headers."""

from __future__ import annotations

import pytest

from relay.core import errors
from relay.core.errors import (
    Fault,
    Invalid,
    NotFound,
    RelayError,
    Unauthenticated,
    Unavailable,
    describe_error,
)


@pytest.mark.parametrize(
    ("error", "status", "code", "title"),
    [
        (errors.RelayError, 500, "internal_error", "Internal error"),
        (errors.MalformedBody, 400, "malformed_body", "The request body cannot be read"),
        (errors.MalformedRequest, 400, "malformed_request", "The request cannot be read"),
        (errors.Unauthenticated, 401, "unauthenticated", "A valid token is needed"),
        (errors.Forbidden, 403, "forbidden", "This token may not do that"),
        (errors.NotFound, 404, "not_found", "Not found"),
        (errors.MethodNotAllowed, 405, "method_not_allowed", "Method not allowed"),
        (errors.RequestTimeout, 408, "request_timeout", "The request took too long"),
        (errors.Conflict, 409, "conflict", "Conflict with what is stored"),
        (errors.BodyTooLarge, 413, "body_too_large", "The request body is too large"),
        (errors.UnsupportedMediaType, 415, "unsupported_media_type", "The request body must be JSON"),
        (errors.ExpectationFailed, 417, "expectation_failed", "The expectation is not known"),
        (errors.Invalid, 422, "invalid", "The request is not valid"),
        (errors.TooManyRequests, 429, "too_many_requests", "Too many requests"),
        (errors.HeadTooLarge, 431, "head_too_large", "The request's head is too large"),
        (errors.Unavailable, 503, "unavailable", "Try again later"),
        (errors.VersionNotSupported, 505, "http_version_not_supported", "The relay speaks HTTP/1.1"),
    ],
)
def test_an_error_carries_its_own_answer(error: type[RelayError], status: int, code: str, title: str) -> None:
    assert (error.status, error.code, error.title) == (status, code, title)
    assert error().faults == (Fault(code, "", title),)


def test_a_detail_stands_in_the_error_and_in_its_only_fault() -> None:
    error = NotFound("There is nothing at this path.")
    assert str(error) == error.detail == "There is nothing at this path."
    assert error.faults == (Fault("not_found", "", "There is nothing at this path."),)
    assert error.headers == {}


def test_given_faults_stand_in_place_of_the_general_one() -> None:
    faults = [Fault("wrong_type", "/ttl", "x"), Fault("empty", "/payload", "y")]
    error = Invalid(faults=faults, headers={"X": "1"})
    assert (error.faults, error.detail, error.headers) == (tuple(faults), Invalid.title, {"X": "1"})


def test_a_challenge_says_that_a_token_was_there_but_not_valid() -> None:
    assert Unauthenticated().headers == {"WWW-Authenticate": 'Bearer realm="push relay"'}
    headers = {"WWW-Authenticate": 'Bearer realm="push relay", error="invalid_token"'}
    assert Unauthenticated("The token is unknown.").headers == headers


def test_unavailable_says_when_to_retry() -> None:
    assert Unavailable().headers == {"Retry-After": "1"}
    assert Unavailable(retry_after=7).headers == {"Retry-After": "7"}


def test_a_log_has_our_own_words_or_only_the_type() -> None:
    assert describe_error(NotFound("There is nothing at this path.")) == "There is nothing at this path."
    assert describe_error(ValueError("a device token")) == "ValueError"
