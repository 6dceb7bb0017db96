"""The composer and the page of a push in a browser: preview, test, send, watch, cancel."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import TIMEOUT_MILLISECONDS, BrowserProblems, check_appearance, sign_in
from tests.end_to_end.store import App, Copy, Store

UDID = "ab" * 20
TITLE = "secret-text-of-a-push"
expect.set_options(timeout=TIMEOUT_MILLISECONDS)


@pytest.fixture
async def app(store: Store) -> App:
    return await store.app()


@pytest.fixture
async def copy(store: Store, app: App) -> Copy:
    """A copy on a test device."""
    await add_test_device(store, app)
    return await store.copy(app, "anna", UDID)


async def add_test_device(store: Store, app: App, failure_domain: str = "ok") -> None:
    body = {"udid": UDID, "label": "Anna's phone", "failure_domain": failure_domain}
    await store.must("POST", "/v1.0/test-devices/", app.publisher.manage_token, body)


async def compose(page: Page, app: App, **fields: str) -> None:
    """Open the composer and fill in fields by their labels."""
    await sign_in(page, app.publisher.manage_token)
    await page.goto(f"/console/apps/{app.app_id}/compose/")
    for label, text in fields.items():
        await page.get_by_label(label, exact=True).fill(text)


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def wait_for_state(page: Page, state: str) -> None:
    """Wait until the page shows the state of the push, without reloading it."""
    await expect(page.locator("[data-state]")).to_have_text(state)


async def test_the_preview_follows_the_form(page: Page, app: App, copy: Copy) -> None:
    await compose(page, app, Title="Good morning")
    phone = page.locator(".phone")
    await expect(phone).to_contain_text("Good morning")
    size = page.locator("#size-words")
    before = await size.inner_text()
    await page.get_by_label("Body", exact=True).fill("It is a long day. " * 20)
    await expect(phone).to_contain_text("It is a long day.")
    assert await size.inner_text() != before
    await expect(page.locator(".phone-notes")).to_contain_text("cut")
    await page.get_by_label("Customers", exact=True).fill(copy.customer)
    await expect(page.locator(".reach")).to_contain_text("to 1 copy")
    await check_appearance(page, "composer")


async def test_problems_stand_at_their_fields(page: Page, app: App) -> None:
    await compose(page, app, Subtitle="S", Customers="c_forged")
    await expect(page.locator("#remarks-title")).to_contain_text("needs a title")
    await expect(page.locator("#remarks-recipients")).to_contain_text("c_forged")
    await expect(page.locator(".reach")).to_contain_text("2 problems to fix")
    await page.get_by_label("Title", exact=True).fill("T")
    await expect(page.locator("#remarks-title")).to_be_empty()


async def test_a_payload_that_is_too_large_is_reported_at_its_size(page: Page, app: App) -> None:
    await compose(page, app, Title="T", Body="x" * 5000)
    await expect(page.locator("#preview")).to_contain_text("alert allows 4096")


async def test_a_refused_push_keeps_the_form(page: Page, app: App, problems: BrowserProblems) -> None:
    problems.allow("422")
    await compose(page, app, Body="A long text", Customers="unknown@example.com")
    await press(page, "Send")
    await expect(page.locator("#remarks-title")).to_contain_text("needs a title")
    await expect(page.get_by_label("Body", exact=True)).to_have_value("A long text")


async def test_moves_between_the_editors_lose_nothing(page: Page, app: App) -> None:
    await compose(page, app, Title="T", Badge="2")
    await page.get_by_text("Data for the app").click()
    await page.get_by_label("Key", exact=True).first.fill("mine")
    await page.get_by_label("Value", exact=True).first.fill("5")
    await press(page, "Edit as JSON")
    payload = page.get_by_label("Payload", exact=True).first
    await expect(payload).to_have_value(re.compile(r'"mine": 5'))
    await press(page, "Edit in fields")
    await expect(page.get_by_label("Badge", exact=True)).to_have_value("2")
    await expect(page.get_by_label("Key", exact=True).first).to_have_value("mine")


async def test_a_push_is_tested_on_a_device_and_sent_to_everyone(
    page: Page, store: Store, app: App, copy: Copy
) -> None:
    other = await store.copy(app, "bob", "cd" * 20)
    await compose(page, app, Title=TITLE)
    await press(page, "Send to my test devices")
    await wait_for_state(page, "done")
    await expect(page.locator(".legend")).to_contain_text("1 delivered")
    await expect(page.locator(".time-line")).to_contain_text("Apple accepted it")
    assert await store.received(copy, other) == [1, 0]
    # The form is unchanged. Send to everyone now.
    await expect(page.get_by_label("Title", exact=True)).to_have_value(TITLE)
    await page.get_by_label("Everyone who has the app").check()
    await press(page, "Send")
    await press(page, "Send to 2 copies")
    await page.wait_for_url("**/pushes/*/")
    await wait_for_state(page, "done")
    await expect(page.locator(".legend")).to_contain_text("2 delivered")
    await check_appearance(page, "push")
    assert await store.received(copy, other) == [2, 1]
    [sent, _] = await audit_entries(store, app)
    assert sent["detail"] == {"app_id": app.app_id, "everyone": "true"}


async def audit_entries(store: Store, app: App) -> list[dict[str, object]]:
    """Return the publisher's audit entries of pushes from the console, newest first."""
    answer = await store.must("GET", "/v1.0/audit/", app.publisher.manage_token)
    return [entry for entry in answer["items"] if entry["action"] == "push.sent_from_console"]


async def test_the_page_of_a_push_explains_a_failure(page: Page, store: Store, app: App) -> None:
    await add_test_device(store, app, "unregistered")
    copy = await store.copy(app, "anna", UDID)
    await compose(page, app, Title="T", Customers=copy.customer)
    await press(page, "Send")
    await page.wait_for_url("**/pushes/*/")
    await wait_for_state(page, "done")
    await expect(page.locator(".reasons")).to_contain_text("Unregistered")
    await expect(page.locator(".reasons")).to_contain_text("not on the device any more")
    await expect(page.locator(".time-line")).to_contain_text("was simulated")
    await check_appearance(page, "push-failed")


async def test_a_push_is_cancelled(page: Page, store: Store, app: App) -> None:
    await add_test_device(store, app, "unavailable")
    copy = await store.copy(app, "anna", UDID)
    await compose(page, app, Title="T", Customers=copy.customer)
    await press(page, "Send")
    await page.wait_for_url("**/pushes/*/")
    await expect(page.locator(".time-line")).to_contain_text("503 ServiceUnavailable")
    await page.goto(page.url)  # a fresh page
    await page.get_by_text("Cancel…").click()
    await press(page, "Cancel the push")
    await wait_for_state(page, "cancelled")
    await expect(page.locator(".legend")).to_contain_text("1 cancelled")


async def test_pressing_send_twice_sends_once(page: Page, store: Store, app: App, copy: Copy) -> None:
    await compose(page, app, Title=TITLE, Customers=copy.customer)
    urls = await page.evaluate(
        """async () => {
            const form = document.getElementById("composer");
            const body = new URLSearchParams(new FormData(form));
            body.set("do", "send");
            const send = () => fetch(form.action, {method: "POST", body}).then((answer) => answer.url);
            return Promise.all([send(), send()]);
        }"""
    )
    assert urls[0] == urls[1]
    await page.goto(urls[0])
    await wait_for_state(page, "done")
    assert await store.received(copy) == [1]
    assert len(await audit_entries(store, app)) == 1


async def test_a_form_of_another_session_is_refused(
    page: Page, store: Store, app: App, copy: Copy, problems: BrowserProblems
) -> None:
    problems.allow("403")
    await compose(page, app, Title=TITLE, Customers=copy.customer)
    await page.evaluate("""() => {
        for (const field of document.querySelectorAll("[name=csrf]")) field.value = "of another session";
    }""")
    await press(page, "Send")
    await expect(page.locator("main")).to_contain_text("another session")
    assert await store.received(copy) == [0]


async def test_pushes_of_another_publisher_are_not_found(
    page: Page, store: Store, app: App, copy: Copy, problems: BrowserProblems
) -> None:
    problems.allow("404")
    push = await store.push(app, {copy.customer: []})
    stranger = await store.app()
    await sign_in(page, stranger.publisher.manage_token)
    for app_id, path in (
        (app.app_id, "compose/"),
        (app.app_id, f"pushes/{push['push_id']}/"),
        (stranger.app_id, f"pushes/{push['push_id']}/"),
        (stranger.app_id, f"pushes/{push['push_id']}/state/"),
    ):
        answer = await page.goto(f"/console/apps/{app_id}/{path}")
        assert answer is not None
        assert answer.status == 404
