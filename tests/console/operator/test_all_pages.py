"""Every page for operators: in a browser, and without content."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from relay.core.ids import NodeId
from relay.node.main import Relay
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import NodeRepository, NodeState
from tests.console.conftest import (
    TIMEOUT_MILLISECONDS,
    ConsoleClient,
    check_appearance,
    sign_in,
    suspend_credential,
)
from tests.end_to_end.store import Store

expect.set_options(timeout=TIMEOUT_MILLISECONDS)
PAGES = {
    "publishers": "Publishers",
    "credentials": "Credentials",
    "nodes": "Nodes",
    "queue": "Queue",
    "rates": "Rates",
    "audit": "Audit log",
}


@pytest.mark.needs("chromium")
async def test_every_page_in_a_browser(page: Page, store: Store, relay: Relay) -> None:
    """Both colour schemes, a phone, nothing on the browser's console; a credential is resumed on the way."""
    app = await store.app()
    copy = await store.copy(app, "1", "1")
    await store.push(app, {copy.customer: []})
    await suspend_credential(relay)
    assert (await store.send(app, {copy.customer: []}))[0] == 202
    now = datetime.now(UTC)
    counts = MinuteCountRepository(relay.database)
    for minute in range(50):
        await counts.add_counts(
            now - timedelta(minutes=minute),
            {
                ("accepted", ""): 200 + 7 * minute,
                ("delivered", ""): 9000 - 60 * minute,
                ("failed", "TopicDisallowed"): 2 * minute % 17,
                ("unregistered", "Unregistered"): 40 + minute % 5,
                ("retried", "TooManyRequests"): minute % 9,
            },
        )
    await NodeRepository(relay.database).record_heartbeat(
        NodeState(NodeId(uuid.uuid4()), "relay-1", 4711, "0.1.0", ("api",), now, now, 3, 2, 1)
    )
    await sign_in(page, store.operator_token)
    for path, heading in PAGES.items():
        await page.goto(f"/console/{path}/")
        await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        await check_appearance(page, f"operator-{path}")
    await page.keyboard.press("g")
    await page.keyboard.press("c")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Credentials")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_text("Pushes that waited for it are sent now")).to_be_visible()
    await expect(page.get_by_text("suspended", exact=True)).to_have_count(0)
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_contain_text("Audit")


async def test_empty_pages_say_what_to_do(client: ConsoleClient, store: Store) -> None:
    await client.sign_in(store.operator_token)
    for path, words in {
        "publishers": "push-relay publisher create",
        "credentials": "push-relay credentials add",
        "queue": "The queue is empty",
        "rates": "No data in this period.",
    }.items():
        status, text = await client.get(f"{path}/")
        assert (status, words in text) == (200, True), path
