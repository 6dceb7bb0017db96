"""Sign-in and sign-out."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import (
    TIMEOUT_MILLISECONDS,
    BrowserProblems,
    check_appearance,
    sign_in,
)
from tests.end_to_end.store import Store

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


@pytest.mark.needs("chromium")
async def test_sign_in_and_out(page: Page, store: Store, problems: BrowserProblems) -> None:
    problems.allow("403")
    app = await store.app()
    await page.goto("/console/")
    await check_appearance(page, "sign-in")
    await page.get_by_label("Token").fill(app.push_token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("does not open the console")).to_be_visible()
    await sign_in(page, store.operator_token)
    cookies = await page.context.cookies()
    assert [(cookie["httpOnly"], cookie["sameSite"], cookie["path"]) for cookie in cookies] == [
        (True, "Strict", "/console/")
    ]
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()
    await page.context.add_cookies(  # the cookie of an ended session is refused
        [{"name": cookie["name"], "value": cookie["value"], "url": page.url} for cookie in cookies]
    )
    await page.goto("/console/audit/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.get_by_label("Token").fill(store.operator_token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Audit log")).to_be_visible()  # the page that was asked for


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
    ids=str,
)
async def test_another_site_cannot_sign_in(store: Store, headers: dict[str, str]) -> None:
    data = {"token": store.operator_token}
    async with store.http.post(
        "/console/sign-in/", data=data, headers=headers, allow_redirects=False
    ) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


async def test_sign_in_redirects_to_console_pages_only(store: Store) -> None:
    for next_path in (
        "https://evil.example/",
        "//evil.example/",
        "/console//evil.example",
        "/v1.0/spec/",
        "x",
    ):
        data = {"token": store.operator_token, "next": next_path}
        async with store.http.post(
            "/console/sign-in/", data=data, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False
        ) as answer:
            assert answer.status == 303
            assert answer.headers["Location"].startswith("/console/")
