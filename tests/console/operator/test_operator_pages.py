"""What an operator sees and does in the console."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from relay.node.main import Relay
from relay.store.accounts.credentials import Credentials
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import NodeRepository, NodeState
from tests.console.conftest import PATIENCE, Client, look, sign_in
from tests.end_to_end.store import Store

expect.set_options(timeout=PATIENCE)
PAGES = {
    "publishers": "Publishers",
    "credentials": "Credentials",
    "nodes": "Nodes",
    "queue": "Queue",
    "rates": "Rates",
    "audit": "Audit log",
}


async def suspend(relay: Relay, reason: str = "InvalidProviderToken") -> int:
    """Suspend the one credential, as a refusal of Apple's does; its id."""
    async with relay.database.connection() as connection:
        credential_id: int = await connection.fetchval("SELECT credential_id FROM credential")
    assert await Credentials(relay.database, ("x" * 32,)).suspend(credential_id, reason, datetime.now(UTC))
    return credential_id


async def logged(relay: Relay) -> list[str]:
    """The actions in the audit log that operators did, newest first."""
    async with relay.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT action FROM audit WHERE actor = 'operator' ORDER BY audit_id DESC"
        )
    return [row["action"] for row in rows]


@pytest.mark.needs("chromium")
async def test_every_page_in_a_browser(page: Page, store: Store, relay: Relay) -> None:
    """Both colour schemes, a phone, nothing on the browser's console; a credential is resumed on the way."""
    app = await store.app()
    copy = await store.copy(app, "1", "1")
    await store.push(app, {copy.customer: []})
    await suspend(relay)
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
        NodeState(uuid.uuid4(), "relay-1", 4711, "0.1.0", ("api",), now, now, 3, 2, 1)
    )
    await sign_in(page, store.operator_token)
    for path, heading in PAGES.items():
        await page.goto(f"/console/{path}/")
        await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        await look(page, f"operator-{path}")
    await page.keyboard.press("g")
    await page.keyboard.press("c")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Credentials")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_text("Pushes that waited for it are sent now")).to_be_visible()
    await expect(page.get_by_text("suspended", exact=True)).to_have_count(0)
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_contain_text("Audit")


async def test_empty_pages_say_what_to_do(client: Client, store: Store) -> None:
    await client.sign_in(store.operator_token)
    for path, words in {
        "publishers": "push-relay publisher create",
        "credentials": "push-relay credentials add",
        "queue": "The queue is empty",
        "rates": "No data in this period.",
    }.items():
        status, text = await client.get(f"{path}/")
        assert (status, words in text) == (200, True), path


def matching(pattern: str, text: str) -> str:
    """Return the first group of `pattern` in `text`, which must hold it."""
    match = re.search(pattern, text)
    assert match, pattern
    return match[1]


async def test_a_publisher_its_app_and_its_token(client: Client, store: Store, relay: Relay) -> None:
    await client.sign_in(store.operator_token)
    status, text = await client.post("publishers/", {"name": "Ada <Chess>"})
    assert (status, "Ada &lt;Chess&gt;" in text) == (200, True)
    token = matching(r"(manage_[A-Za-z0-9_-]{48})", text)
    path = matching(r'action="/console/(publishers/[0-9a-f-]{36}/)apps/"', text)
    status, text = await client.post(f"{path}apps/", {"name": "Chess", "app_id": "chess1"})
    assert (status, "The app Chess was added with the app_id chess1." in text) == (200, True)
    status, text = await client.post(f"{path}apps/", {"name": "Chess", "app_id": "chess1"})
    assert (status, "This app_id is taken." in text) == (422, True)
    apps = await store.must("GET", "/v1.0/apps/", token)
    assert [app["app_id"] for app in apps["items"]] == ["chess1"]
    _, text = await client.get(path)
    assert token not in text  # it was shown once
    revoke = matching(r'action="/console/(publishers/[^"]+/revoke/)"', text)
    assert (await client.post(revoke))[0] == 200
    assert (await client.post(revoke))[0] == 404
    assert (await store.call("GET", "/v1.0/apps/", token))[0] == 401
    assert (await logged(relay))[:4] == [
        "manage_token.revoked",
        "app.created",
        "manage_token.created",
        "publisher.created",
    ]


async def test_a_name_that_will_not_do_is_said_at_its_field(client: Client, store: Store) -> None:
    await client.sign_in(store.operator_token)
    status, text = await client.post("publishers/", {"name": ""})
    assert (status, 'class="fault"' in text) == (422, True)
    status, text = await client.post("publishers/", {"name": "a\nb"})
    assert (status, "one line of text" in text) == (422, True)


async def test_what_a_suspended_credential_held_is_sent_when_it_is_resumed(
    client: Client, store: Store, relay: Relay
) -> None:
    app = await store.app()
    copy = await store.copy(app, "1", "1")
    credential_id = await suspend(relay)
    await client.sign_in(store.operator_token)
    _, text = await client.get("credentials/")
    assert "InvalidProviderToken" in text
    assert "Apple refuses the key" in text
    _, answer = await store.send(app, {copy.customer: []})
    status, text = await client.post(f"credentials/{credential_id}/resume/")
    assert (status, "is active" in text) == (200, True)
    await store.done(app, answer["push_id"])
    assert await store.received(copy) == [1]
    status, text = await client.post(f"credentials/{credential_id}/suspend/")
    assert (status, "An operator suspended it." in text) == (200, True)
    assert (await logged(relay))[:2] == ["credential.suspended", "credential.resumed"]
    assert (await client.post("credentials/999/suspend/"))[0] == 404


async def test_a_key_is_replaced(client: Client, store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "1", "1")
    await client.sign_in(store.operator_token)
    key = store.apns.issue_key("TEAM000001")
    fields = {"team_id": "TEAM000001", "environment": "production", "key_id": key.key_id, "p8": "nonsense"}
    status, text = await client.post("credentials/", fields)
    assert (status, "no PEM private key" in text) == (422, True)
    assert "nonsense" not in text
    status, text = await client.post("credentials/", {**fields, "p8": key.p8})
    assert (status, "The credential of TEAM000001 was replaced." in text) == (200, True)
    assert key.key_id in text
    assert "PRIVATE KEY" not in text
    await store.push(app, {copy.customer: []})
    assert await store.received(copy) == [1]


async def test_the_audit_log_is_looked_through(client: Client, store: Store) -> None:
    first, second = await store.app(), await store.app()
    await client.sign_in(store.operator_token)
    _, text = await client.get("audit/?action=app.created")
    assert first.app_id in text
    assert 'data-label="Action">push_token.created' not in text
    _, text = await client.get(f"audit/?publisher={second.publisher.publisher_id}")
    assert second.app_id in text
    assert first.app_id not in text
    _, text = await client.get(f"audit/?subject={first.app_id}&actor=operator")
    assert second.app_id not in text
    assert "Nothing found" in (await client.get("audit/?subject=nobody"))[1]
    status, text = await client.get("audit/?publisher=nobody&subject=%00")
    assert (status, "not the id of a publisher" in text) == (200, True)
    assert (await client.get("audit/?cursor=x"))[0] == 404


async def test_the_audit_log_has_pages(client: Client, store: Store) -> None:
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
