"""Apps: the list, latest pushes and settings."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.console.conftest import (
    TIMEOUT_MILLISECONDS,
    check_appearance,
    open_section,
    sign_in,
)
from tests.end_to_end.store import Store

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


async def test_latest_pushes_show_their_outcomes(page: Page, store: Store) -> None:
    app = await store.app(name="Chess")
    await open_section(page, app, "Pushes")
    await expect(page.get_by_role("heading", name="No pushes yet")).to_be_visible()
    await expect(page.locator("pre")).to_contain_text(f"{page.url.partition('/console')[0]}/v1.0/send/")
    await check_appearance(page, "app-without-pushes")
    copies = [await store.copy(app, f"customer {number}", f"{number}") for number in range(2)]
    await store.push(app, {copy.customer: [] for copy in copies})
    await page.reload()
    row = page.get_by_role("row").filter(has_text="alert")
    await expect(row).to_contain_text("done")
    await expect(row).to_contain_text("2 delivered")
    await check_appearance(page, "app")


async def test_settings_are_stored(page: Page, store: Store) -> None:
    app = await store.app(name="Chess")
    await open_section(page, app, "Settings")
    attach = page.get_by_label("Copies of the app may add")
    for is_allowed in (True, False):
        await attach.set_checked(is_allowed)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("The settings were saved.")).to_be_visible()
        await expect(attach).to_be_checked(checked=is_allowed)
        apps = await store.must("GET", "/v1.0/apps/", app.publisher.manage_token)
        assert apps["items"][0]["installations_attach_aliases"] is is_allowed
        await page.reload()
    await check_appearance(page, "app-settings")


async def test_a_publisher_without_apps_sees_how_to_get_one(page: Page, store: Store) -> None:
    publisher = await store.publisher()
    await sign_in(page, publisher.manage_token)
    await expect(page.get_by_role("heading", name="No apps yet")).to_be_visible()
    await expect(page.locator("pre")).to_contain_text(f"--publisher {publisher.publisher_id}")
    await check_appearance(page, "no-apps")
