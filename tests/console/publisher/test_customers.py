"""Customers: found, shown with their copies, given addresses."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.console.conftest import (
    TIMEOUT_MILLISECONDS,
    BrowserProblems,
    check_appearance,
    open_section,
    sign_in,
)
from tests.end_to_end.store import App, Store

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


async def test_search_by_address_shows_copies_side_by_side(page: Page, store: Store) -> None:
    app = await store.app(name="Chess")
    anna = await store.copy(app, "anna", "a")
    await store.copy(app, "anna", "a", "B2", register=False)
    tablet = await store.copy(app, "anna", "b")
    bert = await store.copy(app, "bert", "c")
    path = f"/v1.0/customers/{anna.customer}/aliases/?app_id={app.app_id}"
    await store.must("POST", path, app.push_token, {"alias": "secret-anna@example.com"})
    await open_section(page, app, "Customers")
    await expect(page.get_by_role("link", name=anna.customer)).to_be_visible()
    await expect(page.get_by_role("link", name=bert.customer)).to_be_visible()
    await check_appearance(page, "customers")

    await page.keyboard.press("/")
    await page.keyboard.type(" Secret-Anna@example.com ")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/customers/{anna.customer}/")
    phone = page.locator(f"#{anna.device}")
    await expect(phone.get_by_text("2 copies side by side")).to_be_visible()
    await expect(phone.locator("svg .copy-icon")).to_have_count(2)
    await expect(phone.locator(".copy").filter(has_text="Copy B2")).to_contain_text("no device token yet")
    await expect(phone.locator(".copy").filter(has_text="The app")).to_contain_text("reachable")
    await expect(page.locator(f"#{tablet.device}").get_by_text("One copy")).to_be_visible()
    for secret in (anna.device_token, anna.uuid, "secret-"):
        assert secret not in await page.content()
    await check_appearance(page, "customer")


async def test_addresses_are_added_and_removed(page: Page, store: Store) -> None:
    app = await store.app(name="Chess")
    anna = await store.copy(app, "anna", "a")
    await sign_in(page, app.publisher.manage_token)
    await page.goto(f"/console/apps/{app.app_id}/customers/{anna.customer}/")
    for expected in ("The address was added.", "The customer already has this address."):
        await page.get_by_label("New address").fill("secret-anna@example.com")
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_text(expected)).to_be_visible()
    answer = await store.must(
        "POST", "/v1.0/customers/search/", app.push_token, {"alias": "secret-anna@example.com"}
    )
    assert [item["customer_id"] for item in answer["items"]] == [anna.customer]
    await page.get_by_text("Remove…").click()
    await page.get_by_role("button", name="Remove the address").click()
    await expect(page.get_by_text("The address was removed.")).to_be_visible()


async def test_search_by_identifier(page: Page, store: Store, problems: BrowserProblems) -> None:
    app = await store.app(name="Chess")
    anna = await store.copy(app, "anna", "a")
    bert = await store.copy(app, "bert", "b")
    await sign_in(page, app.publisher.manage_token)
    for term, expected_end in (
        (anna.device, f"/customers/{anna.customer}/#{anna.device}"),
        (bert.customer, f"/customers/{bert.customer}/"),
    ):
        await search(page, app, term)
        await page.wait_for_url(f"**{expected_end}")
    await search(page, app, "secret-unknown@example.com")
    await expect(page.get_by_role("heading", name="No customer found")).to_be_visible()
    problems.allow("422")
    await search(page, app, "anna")
    await expect(page.get_by_text("Search for a complete c_… or d_… identifier")).to_be_visible()


async def search(page: Page, app: App, term: str) -> None:
    await page.goto(f"/console/apps/{app.app_id}/customers/")
    await page.get_by_label("Find a customer").fill(term)
    await page.get_by_role("button", name="Search").click()
