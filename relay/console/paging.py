"""Pages of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from aiohttp import web

Item = TypeVar("Item")


def split_page(
    request: web.Request, items: Sequence[Item], limit: int, cursor_of: Callable[[Item], object]
) -> tuple[list[Item], str]:
    """Return the items of this page and the query string of the next page, "" if this page is the last.

    `items` holds one item more than `limit` if another page follows. `cursor_of` returns the cursor after an item.
    """
    page = list(items[:limit])
    if len(items) <= limit:
        return page, ""
    return page, str(request.rel_url.update_query({"cursor": str(cursor_of(page[-1]))}).query_string)
