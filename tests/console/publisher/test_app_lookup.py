"""Apps, customers and other things of another publisher are not found."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.console.conftest import (
    TIMEOUT_MILLISECONDS,
    BrowserProblems,
    sign_in,
)
from tests.end_to_end.store import Store

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


async def test_another_publishers_apps_are_not_found(
    page: Page, store: Store, problems: BrowserProblems
) -> None:
    app, foreign = await store.app(), await store.app()
    copy = await store.copy(foreign, "anna", "a")
    await sign_in(page, app.publisher.manage_token)
    await page.goto(f"/console/apps/{app.app_id}/settings/")
    csrf_token = await page.locator("main input[name=csrf]").get_attribute("value")
    origin = {"Origin": page.url.partition("/console")[0], "Sec-Fetch-Site": "same-origin"}
    base = f"/console/apps/{foreign.app_id}/"
    customer, nil = f"customers/{copy.customer}/", "00000000-0000-0000-0000-000000000000"
    for path in ("", "settings/", "customers/", customer, "tokens/", "test-devices/", "webhooks/"):
        assert (await page.request.get(base + path)).status == 404, path
    for path in (
        *("settings/", "customers/search/", f"{customer}aliases/", f"{customer}aliases/{nil}/remove/"),
        *("tokens/", f"tokens/{nil}/revoke/", "test-devices/", f"test-devices/{nil}/"),
        *(f"test-devices/{nil}/remove/", "webhooks/", f"webhooks/{nil}/test/", f"webhooks/{nil}/remove/"),
    ):
        answer = await page.request.post(base + path, form={"csrf": csrf_token or ""}, headers=origin)
        assert answer.status == 404, path
    foreign_customer = f"/console/apps/{app.app_id}/customers/{copy.customer}/"
    assert (await page.request.get(foreign_customer)).status == 404
    problems.allow("404")
    await page.goto(base)
    await expect(page.get_by_role("heading", name="Not found")).to_be_visible()
