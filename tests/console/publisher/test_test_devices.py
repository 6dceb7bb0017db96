"""Test devices: added, changed, removed."""

from __future__ import annotations

from playwright.async_api import Page, expect

from relay.console.publisher.test_devices import FAILURE_DOMAIN_TEXTS
from relay.core.delivery.outcomes import FailureDomain
from tests.console.conftest import (
    TIMEOUT_MILLISECONDS,
    BrowserProblems,
    check_appearance,
    open_section,
)
from tests.end_to_end.store import App, Store

expect.set_options(timeout=TIMEOUT_MILLISECONDS)
UDID = "00008030-001c2d223a80802e"


async def test_a_test_device_is_added_changed_and_removed(
    page: Page, store: Store, problems: BrowserProblems
) -> None:
    app = await store.app(name="Chess")
    await open_section(page, app, "Test devices")
    await expect(page.get_by_role("heading", name="No test devices yet")).to_be_visible()
    new = page.locator("form.new")
    await new.get_by_label("UDID").fill("no UDID")
    await new.get_by_label("Label").fill("Anna's phone")
    await new.get_by_label("App removed").check()
    problems.allow("422")
    await new.get_by_role("button", name="Add").click()
    await expect(new.get_by_text("Expected a UDID")).to_be_visible()
    await expect(new.get_by_label("App removed")).to_be_checked()
    await new.get_by_label("UDID").fill(UDID)
    await new.get_by_role("button", name="Add").click()
    await expect(page.get_by_text("Anna's phone is now a test device.")).to_be_visible()
    assert await listed_devices(store, app) == [("Anna's phone", "unregistered")]
    await check_appearance(page, "test-devices")
    form = page.get_by_role("form", name="Anna's phone")
    await form.get_by_label("Behaves as").select_option("Throttled")
    await form.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Anna's phone: throttled.")).to_be_visible()
    assert await listed_devices(store, app) == [("Anna's phone", "throttled")]
    await page.get_by_text("Remove…").click()
    await page.get_by_role("button", name="Remove Anna's phone").click()
    await expect(page.get_by_text("The test device was removed.")).to_be_visible()
    assert await listed_devices(store, app) == []


async def listed_devices(store: Store, app: App) -> list[tuple[str, str]]:
    answer = await store.must("GET", "/v1.0/test-devices/", app.publisher.manage_token)
    return [(item["label"], item["failure_domain"]) for item in answer["items"]]


def test_every_failure_domain_has_a_text() -> None:
    assert set(FAILURE_DOMAIN_TEXTS) == set(FailureDomain)
