"""Every error a caller can see: its HTTP status, its code, and the label it has in metrics.

Answers are `application/problem+json` (RFC 9457) with `success: false` and `errors: [{code, pointer, detail}]`, so
that one look says which field is wrong. A pointer is a JSON pointer (RFC 6901) into the body, or "" for the request.
Nothing here may hold a secret: details name fields and limits, never values of tokens, keys or payloads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong with a request: a stable code, where (JSON pointer), and a sentence."""

    code: str
    pointer: str
    detail: str


class RelayError(Exception):
    """Base of all errors that a caller sees. `code` is stable and is the metric label too."""

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
    """The body is not what the Content-Type says: no JSON, broken UTF-8, NaN, a duplicate key."""

    status, code, title = 400, "malformed_body", "The request body cannot be read"


class MalformedRequest(RelayError):
    """A path segment, query parameter or header has the wrong form."""

    status, code, title = 400, "malformed_request", "The request cannot be read"


class Unauthenticated(RelayError):
    """No token, or one that is unknown, revoked or expired."""

    status, code, title = 401, "unauthenticated", "A valid token is needed"

    def __init__(self, detail: str = "") -> None:
        challenge = 'Bearer realm="push relay"'
        if detail:
            challenge += ', error="invalid_token"'
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class Forbidden(RelayError):
    """The token is valid but may not do this."""

    status, code, title = 403, "forbidden", "This token may not do that"


class NotFound(RelayError):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(RelayError):
    """The path exists, the method does not."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class RequestTimeout(RelayError):
    """The request did not arrive in time."""

    status, code, title = 408, "request_timeout", "The request took too long"


class Conflict(RelayError):
    """What is asked contradicts what is stored."""

    status, code, title = 409, "conflict", "Conflict with what is stored"


class BodyTooLarge(RelayError):
    """The body is larger than the limit."""

    status, code, title = 413, "body_too_large", "The request body is too large"


class UnsupportedMediaType(RelayError):
    """The body is not JSON by its Content-Type."""

    status, code, title = 415, "unsupported_media_type", "The request body must be JSON"


class ExpectationFailed(RelayError):
    """The `Expect` header asks for something that is not known."""

    status, code, title = 417, "expectation_failed", "The expectation is not known"


class HeadTooLarge(RelayError):
    """The request line and the headers are larger than the limits."""

    status, code, title = 431, "head_too_large", "The request's head is too large"


class Invalid(RelayError):
    """The body is JSON, and says something that cannot be done."""

    status, code, title = 422, "invalid", "The request is not valid"


class TooManyRequests(RelayError):
    """The caller asks too often; nothing was stored. `headers` say when to come back."""

    status, code, title = 429, "too_many_requests", "Too many requests"


class VersionNotSupported(RelayError):
    """The request is in a version of HTTP that the relay does not speak."""

    status, code, title = 505, "http_version_not_supported", "The relay speaks HTTP/1.1"


class Unavailable(RelayError):
    """The relay cannot do it now; nothing was stored."""

    status, code, title = 503, "unavailable", "Try again later"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def describe_error(error: Exception) -> str:
    """What a log may say of any exception: our own words, or only the type of somebody else's."""
    return error.detail if isinstance(error, RelayError) else type(error).__name__
