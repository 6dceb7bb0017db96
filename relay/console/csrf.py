"""Guards against requests that another site makes a browser send.

A request that may change something must come from a page of the console. The browser states its origin in
`Sec-Fetch-Site` or `Origin`. The form, or htmx in a header, carries a token that is derived from the session id.
Sign-in has no session yet and needs only the right origin.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from relay.console.forms import CSRF_FIELD, read_form
from relay.console.visitors import Visitor
from relay.core.errors import Forbidden

CSRF_HEADER = "X-CSRF-Token"


def check_origin(request: web.Request) -> None:
    """Check that a page of this host made the request, as the browser states it.

    Raises: Forbidden.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:  # browsers send it over https and to localhost; it compares the scheme as well
        is_own_page = site == "same-origin"
    else:
        origin = request.headers.get(hdrs.ORIGIN, "")
        is_own_page = bool(request.host) and urlsplit(origin).netloc == request.host
    if not is_own_page:
        raise Forbidden("This request does not come from a page of the console.")


async def check_csrf_token(request: web.Request, visitor: Visitor) -> None:
    """Check that the form, or the header that htmx sends, carries the token of the visitor's session.

    Raises: Forbidden.
    """
    token = request.headers.get(CSRF_HEADER)
    if token is None:
        token = (await read_form(request)).get(CSRF_FIELD, "")
    if not hmac.compare_digest(token.encode(), visitor.csrf_token.encode()):
        raise Forbidden("This form belongs to another session. Open the page again.")
