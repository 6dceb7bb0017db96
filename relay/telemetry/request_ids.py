"""The id by which a request is found again: in its answer, in the lines of the log, in its span."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar

HEADER = "X-Request-Id"
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered, "" outside of any. aiohttp runs each request in a context of its own; work
that is done for several of them, or outlives the one that began it, has to be started in an empty one."""
_FORM = re.compile(r"[A-Za-z0-9.-]{1,64}")


def request_id(given: Sequence[str]) -> str:
    """The caller's own id, if there is one X-Request-Id header and it can be put into any log as it is; else a new one.

    No API token has this form: they have an underscore.
    """
    if len(given) == 1 and _FORM.fullmatch(given[0]):
        return given[0]
    return new_request_id()


def new_request_id() -> str:
    """Sixteen random hexadecimal digits."""
    return secrets.token_hex(8)
