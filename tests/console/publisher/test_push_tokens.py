"""Push tokens: created, shown once, revoked."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.console.conftest import (
    TIMEOUT_MILLISECONDS,
    BrowserProblems,
    check_appearance,
    open_section,
)
from tests.end_to_end.store import Store
from tests.leaks import LEAKS

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


async def test_a_token_is_shown_once_and_revoked(page: Page, store: Store, problems: BrowserProblems) -> None:
    publisher = await store.publisher()
    app = await store.app(publisher, name="Chess")
    await open_section(page, app, "Push tokens")
    await page.get_by_label("Label").fill("newsletter <b>")
    await page.get_by_label("Last valid day").fill("2001-01-01")
    problems.allow("409")
    await page.get_by_role("button", name="Create the token").click()
    await expect(page.get_by_text("This time has passed.")).to_be_visible()
    await expect(page.get_by_label("Label")).to_have_value("newsletter <b>")
    await page.get_by_label("Last valid day").fill("2101-01-01")
    await page.get_by_label("Test devices only").check()
    await page.get_by_role("button", name="Create the token").click()
    await expect(page.get_by_text("is shown only once.")).to_be_visible()
    token = await page.locator("#token").inner_text()
    LEAKS.note("a push token", token)
    assert (await store.call("GET", "/v1.0/customers/", token))[0] == 200
    await page.reload()  # creates no second token
    row = page.get_by_role("row").filter(has_text="newsletter <b>")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("test devices only")
    await expect(row).to_contain_text("2101-01-01")
    assert token not in await page.content()
    await check_appearance(page, "tokens")
    await row.get_by_text("Revoke…").click()
    await row.get_by_role("button", name="Revoke it").click()
    await expect(page.get_by_text("The token was revoked.")).to_be_visible()
    await expect(row).to_have_count(0)
    assert (await store.call("GET", "/v1.0/customers/", token))[0] == 401
    log = await store.must("GET", "/v1.0/audit/", publisher.manage_token)
    assert [entry["action"] for entry in log["items"][:2]] == ["push_token.revoked", "push_token.created"]
