"""The query of the list of a push's deliveries. Their content is tested with real pushes, in `tests/end_to_end/`."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.front import Front


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *((f"limit={text}", 400) for text in ("0", "1001", "000100999", "9" * 30, "0" * 5000, "x", "²")),
        ("limit=1000", 404),
        *((f"cursor={text}", 400) for text in ("", "1", "1.", ".1", "-1.0", "1.x", "²", "1.²", "1.1.1")),
        (f"cursor={'9' * 19}.1", 400),
        (f"cursor=1.{'9' * 10}", 400),
        (f"cursor={'9' * 18}.{'9' * 9}", 404),
    ],
)
async def test_a_limit_or_cursor_that_cannot_be_is_refused(front: Front, query: str, status: int) -> None:
    _, manage_token = await front.publisher()
    path = f"pushes/{uuid4()}/deliveries/?{query}"
    assert (await front.call("GET", path, token=manage_token)).status == status
