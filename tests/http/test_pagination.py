"""Pages of lists: the query that asks for one, and its answer."""

from __future__ import annotations

import json

import pytest
from aiohttp.test_utils import make_mocked_request

from relay.core.errors import MalformedRequest
from relay.core.schema import number_in_path
from relay.http.pagination import DEFAULT_PAGE_SIZE, PageRequest, page_answer, page_limit, page_request


@pytest.mark.parametrize(
    ("query", "limit"), [("", DEFAULT_PAGE_SIZE), ("?limit=1", 1), ("?limit=0007", 7), ("?limit=1000", 1000)]
)
def test_the_limit_of_a_page(query: str, limit: int) -> None:
    assert page_limit(make_mocked_request("GET", f"/{query}")) == limit


@pytest.mark.parametrize(
    "text", ["", "0", "0000", "1001", "-1", "+1", "1.0", "00001", "9" * 5000, "x", "²", "٣"]
)
def test_a_limit_that_is_not_a_number_from_1_to_1000_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest, match="limit must be a number from 1 to 1000"):
        page_limit(make_mocked_request("GET", f"/?limit={text}"))


def test_without_a_cursor_a_page_begins_at_the_start() -> None:
    assert page_request(make_mocked_request("GET", "/"), number_in_path) == (None, DEFAULT_PAGE_SIZE)


def test_a_cursor_names_the_item_before_the_page() -> None:
    page = page_request(make_mocked_request("GET", "/?cursor=7&limit=2"), number_in_path)
    assert (page.after, page.limit, page.one_more) == (7, 2, 3)


@pytest.mark.parametrize("text", ["", "x", "-1"])
def test_a_cursor_that_is_not_a_key_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest, match="cursor must be the `next` of a page before"):
        page_request(make_mocked_request("GET", f"/?cursor={text}"), number_in_path)


@pytest.mark.parametrize(
    ("keys", "shown", "following"),
    [
        ([], [], None),
        ([1], ["item 1"], None),
        ([1, 2], ["item 1", "item 2"], None),
        ([1, 2, 3], ["item 1", "item 2"], "2"),
    ],
)
def test_a_page_names_its_last_item_if_another_page_follows(
    keys: list[int], shown: list[str], following: str | None
) -> None:
    page: PageRequest[int] = PageRequest(None, 2)
    response = page_answer(page, keys, lambda key: key, lambda key: f"item {key}")
    assert response.status == 200
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {"items": shown, "next": following}
