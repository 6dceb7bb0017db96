"""The audit log: filters and pages."""

from __future__ import annotations

import re

from tests.console.conftest import (
    ConsoleClient,
)
from tests.end_to_end.store import Store


async def test_filters(client: ConsoleClient, store: Store) -> None:
    first, second = await store.app(), await store.app()
    await client.sign_in(store.operator_token)
    for query, shown, hidden in (
        ("action=app.created", first.app_id, 'data-label="Action">push_token.created'),
        (f"publisher={second.publisher.publisher_id}", second.app_id, first.app_id),
        (f"subject={first.app_id}&actor=operator", first.app_id, second.app_id),
        ("subject=unknown", "Nothing found", first.app_id),
        ("publisher=unknown&subject=%00", "not the id of a publisher", "Nothing found"),
    ):
        status, text = await client.get(f"audit/?{query}")
        assert (status, shown in text, hidden in text) == (200, True, False), query
    assert (await client.get("audit/?cursor=x"))[0] == 404


async def test_pages(client: ConsoleClient, store: Store) -> None:
    publisher = await store.publisher()
    for _ in range(30):
        await store.push_token(publisher, (await store.app(publisher)).app_id)
    await client.sign_in(store.operator_token)
    seen: list[str] = []
    query = "action=push_token.created"
    while query:
        _, text = await client.get(f"audit/?{query}")
        seen += re.findall(r'data-label="Subject" class="mono">([^<]+)', text)
        following = re.search(r'class="button" href="\?([^"]+)">Next page', text)
        query = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == len(set(seen)) == 60
