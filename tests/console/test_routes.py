"""Pages that only one kind of visitor finds."""

from __future__ import annotations

from tests.console.conftest import (
    ConsoleClient,
)
from tests.end_to_end.store import Store

OPERATOR_PATHS = ("publishers", "credentials", "nodes", "queue", "rates", "audit")


async def test_publishers_do_not_find_pages_for_operators(client: ConsoleClient, store: Store) -> None:
    app = await store.app()
    await client.sign_in(app.publisher.manage_token)
    for path in OPERATOR_PATHS:
        assert (await client.get(f"{path}/"))[0] == 404
    assert (await client.post("credentials/1/resume/"))[0] == 404
