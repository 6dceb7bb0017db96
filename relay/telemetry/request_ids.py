"""The id of a request, which stands in its answer, in its lines of the log and in its span."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar

HEADER = "X-Request-Id"
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the current request, "" outside of requests. aiohttp runs each request in its own context. Work for several
requests, or work that outlives its request, must be started in an empty context."""
_FORM = re.compile(r"[A-Za-z0-9.-]{1,64}")


def request_id(given: Sequence[str]) -> str:
    """Return the caller's id if there is exactly one X-Request-Id header and it is safe in any log; else a new id.

    No API token has this form, because all contain an underscore.
    """
    if len(given) == 1 and _FORM.fullmatch(given[0]):
        return given[0]
    return new_request_id()


def new_request_id() -> str:
    """Return 16 random hex digits."""
    return secrets.token_hex(8)
