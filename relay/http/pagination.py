"""Lists, page by page: {"items": […], "next": cursor or null}, with ?limit= and ?cursor=.

A cursor is the key of the last item that was shown, so a page costs the same however far in it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from aiohttp import web

from relay.core.errors import MalformedRequest, NotFound
from relay.http.requests import answer

LIMIT = 100
LONGEST = 1000

Key = TypeVar("Key")
Item = TypeVar("Item")


class PageRequest(NamedTuple, Generic[Key]):
    """Up to `limit` items after the one with the key `after`; None is the start."""

    after: Key | None
    limit: int

    @property
    def one_more(self) -> int:
        """What to ask the store for, to know whether there is a next page."""
        return self.limit + 1


def page_limit(request: web.Request) -> int:
    """How many items the page may hold. Raises MalformedRequest."""
    text = request.query.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LONGEST):
        raise MalformedRequest(f"limit must be a number from 1 to {LONGEST}.")
    return int(text)


def page_request(request: web.Request, key: Callable[[str], Key]) -> PageRequest[Key]:
    """The page that is asked for; `key` reads a cursor. Raises MalformedRequest naming the parameter."""
    limit = page_limit(request)
    cursor = request.query.get("cursor")
    try:
        return PageRequest(None if cursor is None else key(cursor), limit)
    except NotFound:
        raise MalformedRequest("cursor must be the `next` of a page before.") from None


def page_answer(
    page: PageRequest[Key],
    items: Sequence[Item],
    key: Callable[[Item], object],
    show: Callable[[Item], Any],
) -> web.Response:
    """The answer with `items`, of which there is one more than the page holds when another page follows."""
    shown = items[: page.limit]
    more = len(items) > page.limit
    return answer({"items": [show(item) for item in shown], "next": str(key(shown[-1])) if more else None})
