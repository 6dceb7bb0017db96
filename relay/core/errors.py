"""The errors that callers see, each with its HTTP status, its code and its title.

Answers are `application/problem+json` (RFC 9457) with `success: false` and `errors: [{code, pointer, detail}]`. A
pointer is a JSON pointer (RFC 6901) into the body, or "" for the whole request. No error may hold a secret: details
name fields and limits, never values of tokens, keys or payloads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple


class Fault(NamedTuple):
    """A mistake in a request: a stable code, a JSON pointer to its place, and a sentence."""

    code: str
    pointer: str
    detail: str


class RelayError(Exception):
    """The base of all errors that callers see. `code` is stable; metrics use it as their label."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str = "", faults: Sequence[Fault] = (), *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.faults = tuple(faults) or (Fault(self.code, "", self.detail),)
        self.headers = dict(headers or {})


class MalformedBody(RelayError):
    """A body that is not what its Content-Type says: no JSON, broken UTF-8, NaN, a duplicate key."""

    status, code, title = 400, "malformed_body", "The request body cannot be read"


class MalformedRequest(RelayError):
    """A path segment, query parameter or header of the wrong form."""

    status, code, title = 400, "malformed_request", "The request cannot be read"


class Unauthenticated(RelayError):
    """A request without a token, or with one that is unknown, revoked or expired."""

    status, code, title = 401, "unauthenticated", "A valid token is needed"

    def __init__(self, detail: str = "") -> None:
        challenge = 'Bearer realm="push relay"'
        if detail:
            challenge += ', error="invalid_token"'
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class Forbidden(RelayError):
    """A request that its valid token does not allow."""

    status, code, title = 403, "forbidden", "This token may not do that"


class NotFound(RelayError):
    """A thing that does not exist or belongs to another caller; the answer does not tell which."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(RelayError):
    """A method that the path does not have."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class RequestTimeout(RelayError):
    """A request that did not arrive in time."""

    status, code, title = 408, "request_timeout", "The request took too long"


class Conflict(RelayError):
    """A request that contradicts what is stored."""

    status, code, title = 409, "conflict", "Conflict with what is stored"


class BodyTooLarge(RelayError):
    """A body that is larger than the limit."""

    status, code, title = 413, "body_too_large", "The request body is too large"


class UnsupportedMediaType(RelayError):
    """A body that is not JSON by its Content-Type."""

    status, code, title = 415, "unsupported_media_type", "The request body must be JSON"


class ExpectationFailed(RelayError):
    """An `Expect` header with an unknown expectation."""

    status, code, title = 417, "expectation_failed", "The expectation is not known"


class HeadTooLarge(RelayError):
    """A request line or headers that are larger than the limits."""

    status, code, title = 431, "head_too_large", "The request's head is too large"


class Invalid(RelayError):
    """A body that is JSON but asks for something impossible."""

    status, code, title = 422, "invalid", "The request is not valid"


class TooManyRequests(RelayError):
    """A request beyond the caller's rate; nothing was stored. `headers` say when to retry."""

    status, code, title = 429, "too_many_requests", "Too many requests"


class VersionNotSupported(RelayError):
    """A request in a version of HTTP that the relay does not speak."""

    status, code, title = 505, "http_version_not_supported", "The relay speaks HTTP/1.1"


class Unavailable(RelayError):
    """A request that the relay cannot serve now; nothing was stored. `retry_after` is in seconds."""

    status, code, title = 503, "unavailable", "Try again later"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def describe_error(error: Exception) -> str:
    """Return the text that logs may show: the detail of our own errors, of all others only the type."""
    return error.detail if isinstance(error, RelayError) else type(error).__name__
