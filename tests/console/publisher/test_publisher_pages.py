"""A publisher at the console: apps, customers with their devices, push tokens, test devices, settings."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from relay.console.publisher.test_devices import FAILURE_DOMAIN_TEXTS
from relay.console.publisher.webhooks import EVENT_TEXTS
from relay.core.delivery.outcomes import FailureDomain
from relay.core.webhooks.messages import EventType
from tests.console.conftest import PATIENCE, Problems, look, sign_in
from tests.end_to_end.store import App, Store
from tests.leaks import LEAKS

expect.set_options(timeout=PATIENCE)
UDID = "00008030-001c2d223a80802e"


async def enter(page: Page, app: App, section: str) -> None:
    """Sign in as the app's publisher, and go to a section by its link."""
    await sign_in(page, app.publisher.manage_token)
    await page.get_by_role("link", name=re.compile(app.app_id)).click()
    await page.get_by_role("link", name=section, exact=True).click()
    await expect(page.get_by_role("link", name=section, exact=True)).to_have_attribute("aria-current", "page")


async def test_a_token_is_shown_once_and_revoked(page: Page, store: Store, problems: Problems) -> None:
    publisher = await store.publisher()
    app = await store.app(publisher, name="Chess")
    await enter(page, app, "Push tokens")
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
    await page.reload()  # does not make another one
    row = page.get_by_role("row").filter(has_text="newsletter <b>")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("test devices only")
    await expect(row).to_contain_text("2101-01-01")
    assert token not in await page.content()
    await look(page, "tokens")
    await row.get_by_text("Revoke…").click()
    await row.get_by_role("button", name="Revoke it").click()
    await expect(page.get_by_text("The token was revoked.")).to_be_visible()
    await expect(row).to_have_count(0)
    assert (await store.call("GET", "/v1.0/customers/", token))[0] == 401
    log = await store.must("GET", "/v1.0/audit/", publisher.manage_token)
    assert [entry["action"] for entry in log["items"][:2]] == ["push_token.revoked", "push_token.created"]


async def test_a_test_device_is_listed_changed_and_removed(
    page: Page, store: Store, problems: Problems
) -> None:
    app = await store.app(name="Chess")
    await enter(page, app, "Test devices")
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
    assert await listed(store, app) == [("Anna's phone", "unregistered")]
    await look(page, "test-devices")
    one = page.get_by_role("form", name="Anna's phone")
    await one.get_by_label("Behaves as").select_option("Throttled")
    await one.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Anna's phone: throttled.")).to_be_visible()
    assert await listed(store, app) == [("Anna's phone", "throttled")]
    await page.get_by_text("Remove…").click()
    await page.get_by_role("button", name="Remove Anna's phone").click()
    await expect(page.get_by_text("The test device was removed.")).to_be_visible()
    assert await listed(store, app) == []


async def listed(store: Store, app: App) -> list[tuple[str, str]]:
    answer = await store.must("GET", "/v1.0/test-devices/", app.publisher.manage_token)
    return [(item["label"], item["failure_domain"]) for item in answer["items"]]


async def test_a_customer_is_found_and_shown_with_copies_side_by_side(
    page: Page, store: Store, problems: Problems
) -> None:
    app = await store.app(name="Chess")
    one = await store.copy(app, "anna", "a")
    await store.copy(app, "anna", "a", "B2", register=False)
    tablet = await store.copy(app, "anna", "b")
    other = await store.copy(app, "bert", "c")
    path = f"/v1.0/customers/{one.customer}/aliases/?app_id={app.app_id}"
    await store.must("POST", path, app.push_token, {"alias": "secret-anna@example.com"})
    await enter(page, app, "Customers")
    await expect(page.get_by_role("link", name=one.customer)).to_be_visible()
    await expect(page.get_by_role("link", name=other.customer)).to_be_visible()
    await look(page, "customers")

    await page.keyboard.press("/")
    await page.keyboard.type(" Secret-Anna@example.com ")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/customers/{one.customer}/")
    phone = page.locator(f"#{one.device}")
    await expect(phone.get_by_text("2 copies side by side")).to_be_visible()
    await expect(phone.locator("svg .copy-icon")).to_have_count(2)
    await expect(phone.locator(".copy").filter(has_text="Copy B2")).to_contain_text("no device token yet")
    await expect(phone.locator(".copy").filter(has_text="The app")).to_contain_text("reachable")
    await expect(page.locator(f"#{tablet.device}").get_by_text("One copy")).to_be_visible()
    for secret in (one.device_token, one.uuid, "secret-"):
        assert secret not in await page.content()
    await look(page, "customer")

    await page.get_by_label("New address").fill("secret-bert@example.com")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_text("The address was added.")).to_be_visible()
    found = await store.must(
        "POST", "/v1.0/customers/search/", app.push_token, {"alias": "secret-bert@example.com"}
    )
    assert [item["customer_id"] for item in found["items"]] == [one.customer]
    await page.get_by_text("Remove…").last.click()
    await page.get_by_role("button", name="Remove the address").last.click()
    await expect(page.get_by_text("The address was removed.")).to_be_visible()

    for sought, ends in (
        (tablet.device, f"/customers/{one.customer}/#{tablet.device}"),
        (other.customer, ""),
    ):
        await search(page, app, sought)
        await page.wait_for_url(f"**{ends or f'/customers/{other.customer}/'}")
    await search(page, app, "secret-nobody@example.com")
    await expect(page.get_by_role("heading", name="No customer found")).to_be_visible()
    problems.allow("422")
    await search(page, app, "anna")
    await expect(page.get_by_text("Search for a complete c_… or d_… identifier")).to_be_visible()


async def search(page: Page, app: App, sought: str) -> None:
    await page.goto(f"/console/apps/{app.app_id}/customers/")
    await page.get_by_label("Find a customer").fill(sought)
    await page.get_by_role("button", name="Search").click()


async def test_latest_pushes_say_what_became_of_them(page: Page, store: Store) -> None:
    app = await store.app(name="Chess")
    await enter(page, app, "Pushes")
    await expect(page.get_by_role("heading", name="No pushes yet")).to_be_visible()
    await expect(page.locator("pre")).to_contain_text(f"{page.url.partition('/console')[0]}/v1.0/send/")
    await look(page, "app-without-pushes")
    copies = [await store.copy(app, f"customer {number}", f"{number}") for number in range(2)]
    await store.push(app, {copy.customer: [] for copy in copies})
    await page.reload()
    row = page.get_by_role("row").filter(has_text="alert")
    await expect(row).to_contain_text("done")
    await expect(row).to_contain_text("2 delivered")
    await look(page, "app")


async def test_settings_are_kept(page: Page, store: Store) -> None:
    app = await store.app(name="Chess")
    await enter(page, app, "Settings")
    attach = page.get_by_label("Copies of the app may add")
    for wanted in (True, False):
        await attach.set_checked(wanted)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("The settings were saved.")).to_be_visible()
        await expect(attach).to_be_checked(checked=wanted)
        shown = await store.must("GET", "/v1.0/apps/", app.publisher.manage_token)
        assert shown["items"][0]["installations_attach_aliases"] is wanted
        await page.reload()
    await look(page, "app-settings")


async def test_what_is_anothers_is_not_there(page: Page, store: Store, problems: Problems) -> None:
    app, foreign = await store.app(), await store.app()
    theirs = await store.copy(foreign, "anna", "a")
    await sign_in(page, app.publisher.manage_token)
    await page.goto(f"/console/apps/{app.app_id}/settings/")
    word = await page.locator("main input[name=csrf]").get_attribute("value")
    origin = {"Origin": page.url.partition("/console")[0], "Sec-Fetch-Site": "same-origin"}
    base = f"/console/apps/{foreign.app_id}/"
    one, nil = f"customers/{theirs.customer}/", "00000000-0000-0000-0000-000000000000"
    for path in ("", "settings/", "customers/", one, "tokens/", "test-devices/", "webhooks/"):
        assert (await page.request.get(base + path)).status == 404, path
    for path in (
        *("settings/", "customers/search/", f"{one}aliases/", f"{one}aliases/{nil}/remove/"),
        *("tokens/", f"tokens/{nil}/revoke/", "test-devices/", f"test-devices/{nil}/"),
        *(f"test-devices/{nil}/remove/", "webhooks/", f"webhooks/{nil}/test/", f"webhooks/{nil}/remove/"),
    ):
        answer = await page.request.post(base + path, form={"csrf": word or ""}, headers=origin)
        assert answer.status == 404, path
    mine = f"/console/apps/{app.app_id}/customers/{theirs.customer}/"
    assert (await page.request.get(mine)).status == 404
    problems.allow("404")
    await page.goto(base)
    await expect(page.get_by_role("heading", name="Not found")).to_be_visible()


async def test_a_publisher_without_apps_is_told_how_to_get_one(page: Page, store: Store) -> None:
    publisher = await store.publisher()
    await sign_in(page, publisher.manage_token)
    await expect(page.get_by_role("heading", name="No apps yet")).to_be_visible()
    await expect(page.locator("pre")).to_contain_text(f"--publisher {publisher.publisher_id}")
    await look(page, "no-apps")


def test_everything_has_words() -> None:
    assert set(FAILURE_DOMAIN_TEXTS) == set(FailureDomain)
    assert set(EVENT_TEXTS) == set(EventType)
