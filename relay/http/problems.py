"""Answers to errors: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import msgspec
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from relay.core.errors import BodyTooLarge, MethodNotAllowed, NotFound, RelayError, VersionNotSupported
from relay.http.request_log import begin_request
from relay.http.requests import Handler
from relay.telemetry.logs import get_logger, where
from relay.telemetry.request_ids import REQUEST_ID

PROBLEM_TYPE = "application/problem+json"
_log = get_logger(__name__)
_VERSIONS = (HttpVersion11, HttpVersion10)


def answer_problem(error: RelayError) -> web.Response:
    """Return the answer to an error."""
    return web.Response(
        body=encode_problem(error), status=error.status, content_type=PROBLEM_TYPE, headers=error.headers
    )


def encode_problem(error: RelayError) -> bytes:
    """Return the body of the answer to an error of the request whose id is `REQUEST_ID`."""
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "success": False,
        "request_id": REQUEST_ID.get(),
        "errors": [fault._asdict() for fault in error.faults],
    }
    return msgspec.json.encode(body)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every exception with a problem. Unexpected ones are logged by type and place, without their values."""
    begin_request(request, request.match_info)
    try:
        if request.version not in _VERSIONS:  # aiohttp's parser also accepts 0.9 and 2.0
            return answer_problem(VersionNotSupported("Ask in HTTP/1.1."))
        return await handler(request)
    except RelayError as error:
        return answer_problem(error)
    except web.HTTPRequestEntityTooLarge:
        return answer_problem(BodyTooLarge(f"The body is larger than {request.client_max_size} bytes."))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return answer_problem(
            MethodNotAllowed(f"This path takes {allowed}.", headers={hdrs.ALLOW: allowed}),
        )
    except web.HTTPNotFound:
        return answer_problem(NotFound("There is nothing at this path."))
    except web.HTTPException:
        raise
    except Exception as error:
        log_unexpected(error)
        return answer_problem(RelayError())


def log_unexpected(error: BaseException) -> None:
    """Log an error by its type and place, without its values."""
    _log.error("unexpected error", **where(error))
