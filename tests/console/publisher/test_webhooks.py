"""Webhooks: created, tested, removed."""

from __future__ import annotations

import msgspec
import pytest
from playwright.async_api import Page, expect

from relay.console.publisher.webhooks import EVENT_TEXTS
from relay.core.webhooks.messages import EventType
from relay.settings import Settings, WebhooksSettings
from tests.console.conftest import TIMEOUT_MILLISECONDS, BrowserProblems, check_appearance, sign_in
from tests.end_to_end.store import Store
from tests.leaks import LEAKS
from tests.receiver import Receiver

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Allow webhooks at private addresses."""
    return msgspec.structs.replace(settings, webhooks=WebhooksSettings(allow_private=True))


async def test_a_webhook_is_created_tested_and_removed(
    page: Page, store: Store, problems: BrowserProblems
) -> None:
    app = await store.app(name="Chess")
    await sign_in(page, app.publisher.manage_token)
    await page.goto(f"/console/apps/{app.app_id}/webhooks/")
    await expect(page.get_by_role("heading", name="No webhooks yet")).to_be_visible()
    await page.get_by_label("URL of your server").fill("ftp://example.com/")
    await page.get_by_label("device.unregistered").uncheck()
    problems.allow("422")
    await page.get_by_role("button", name="Create the webhook").click()
    await expect(page.locator("form.new .fault")).to_be_visible()
    await expect(page.get_by_label("device.unregistered")).not_to_be_checked()
    async with Receiver() as receiver:
        await page.get_by_label("URL of your server").fill(receiver.url("hook"))
        await page.get_by_role("button", name="Create the webhook").click()
        await expect(page.get_by_text("is shown only once.")).to_be_visible()
        secret = await page.locator("#secret").inner_text()
        LEAKS.note("a webhook's secret", secret)
        receiver.secrets["hook"] = secret
        await page.get_by_role("link", name="I have saved it").click()
        await expect(page.get_by_text("push.completed").first).to_be_visible()
        assert secret not in await page.content()
        await check_appearance(page, "webhooks")
        receiver.answers["hook"].append(500)
        await page.get_by_role("button", name="Send a test message").click()
        await expect(page.get_by_text("the receiver answered 500")).to_be_visible()
        await page.get_by_role("button", name="Send a test message").click()
        await expect(page.get_by_text("The test message arrived (status 204).")).to_be_visible()
        assert [message.type for message in receiver.messages] == ["webhook.test"]
    await page.get_by_text("Remove…").click()
    await page.get_by_role("button", name="Remove the webhook").click()
    await expect(page.get_by_role("heading", name="No webhooks yet")).to_be_visible()
    assert (await store.must("GET", f"/v1.0/apps/{app.app_id}/webhooks/", app.publisher.manage_token))[
        "items"
    ] == []


def test_every_event_has_a_text() -> None:
    assert set(EVENT_TEXTS) == set(EventType)
