"""Lists in pages: {"items": […], "next": cursor or null}, with `?limit=` and `?cursor=`.

A cursor is the key of the last item shown, so a page costs as much at the end of a list as at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from aiohttp import web

from relay.core.errors import MalformedRequest, NotFound
from relay.http.requests import answer

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

Key = TypeVar("Key")
Item = TypeVar("Item")


class PageRequest(NamedTuple, Generic[Key]):
    """Up to `limit` items after the item with the key `after`. None is the start of the list."""

    after: Key | None
    limit: int

    @property
    def one_more(self) -> int:
        """The number of items to read from the store. One more than `limit` shows that another page follows."""
        return self.limit + 1


def page_limit(request: web.Request) -> int:
    """Return the number of items that the page may hold.

    Raises:
        MalformedRequest: `?limit=` is not a number from 1 to `MAX_PAGE_SIZE`.
    """
    text = request.query.get("limit", str(DEFAULT_PAGE_SIZE))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE_SIZE):
        raise MalformedRequest(f"limit must be a number from 1 to {MAX_PAGE_SIZE}.")
    return int(text)


def page_request(request: web.Request, parse_key: Callable[[str], Key]) -> PageRequest[Key]:
    """Return the requested page. `parse_key` reads a cursor, and raises NotFound for any other text.

    Raises:
        MalformedRequest: `?limit=` or `?cursor=` is not valid.
    """
    limit = page_limit(request)
    cursor = request.query.get("cursor")
    try:
        return PageRequest(None if cursor is None else parse_key(cursor), limit)
    except NotFound:
        raise MalformedRequest("cursor must be the `next` of a page before.") from None


def page_answer(
    page: PageRequest[Key],
    items: Sequence[Item],
    key: Callable[[Item], object],
    show: Callable[[Item], Any],
) -> web.Response:
    """Return the answer with a page of `items`, which holds one more than the page if another page follows."""
    shown = items[: page.limit]
    has_next = len(items) > page.limit
    return answer(
        {"items": [show(item) for item in shown], "next": str(key(shown[-1])) if has_next else None}
    )
