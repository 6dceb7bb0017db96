"""Who gets into the console, how long, and what another site can't make a browser do."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from relay.node.main import Relay
from tests.console.conftest import PATIENCE, Client, Problems, look, sign_in
from tests.end_to_end.store import Store

expect.set_options(timeout=PATIENCE)
OPERATORS = ("publishers", "credentials", "nodes", "queue", "rates", "audit")


@pytest.mark.needs("chromium")
async def test_sign_in_and_out(page: Page, store: Store, problems: Problems) -> None:
    problems.allow("403")
    app = await store.app()
    await page.goto("/console/")
    await look(page, "sign-in")
    await page.get_by_label("Token").fill(app.push_token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("does not open the console")).to_be_visible()
    await sign_in(page, store.operator_token)
    cookies = await page.context.cookies()
    assert [(one["httpOnly"], one["sameSite"], one["path"]) for one in cookies] == [
        (True, "Strict", "/console/")
    ]
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()
    await page.context.add_cookies(  # a copy of the cookie is worth nothing now
        [{"name": one["name"], "value": one["value"], "url": page.url} for one in cookies]
    )
    await page.goto("/console/audit/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.get_by_label("Token").fill(store.operator_token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Audit log")).to_be_visible()  # where one wanted to


async def test_a_revoked_token_is_signed_out(client: Client, store: Store, relay: Relay) -> None:
    await client.sign_in(store.operator_token)
    assert "Audit log" in (await client.get("audit/"))[1]
    async with relay.database.connection() as connection:
        await connection.execute("UPDATE api_token SET revoked_at = now() WHERE kind = 'operator'")
    assert "I have no token" in (await client.get("audit/"))[1]


async def test_an_idle_session_is_over(client: Client, store: Store, relay: Relay) -> None:
    await client.sign_in(store.operator_token)
    async with relay.database.connection() as connection:
        await connection.execute("UPDATE console_session SET seen_at = now() - interval '7 hours 59 minutes'")
    assert "Audit log" in (await client.get("audit/"))[1]
    async with relay.database.connection() as connection:
        assert await connection.fetchval("SELECT seen_at > now() - interval '1 hour' FROM console_session")
        await connection.execute("UPDATE console_session SET seen_at = now() - interval '8 hours 1 minute'")
    assert "I have no token" in (await client.get("audit/"))[1]


async def test_a_changed_cookie_is_none(client: Client, store: Store) -> None:
    await client.sign_in(store.operator_token)
    (cookie,) = client.http.cookie_jar
    client.http.cookie_jar.clear()
    for value, is_known in ((cookie.value, True), (f"{cookie.value[:-3]}AAA", False), ("", False)):
        headers = {"Cookie": f"{cookie.key}={value}"}
        async with client.http.get("/console/audit/", headers=headers) as answer:
            text = await answer.text()
        assert ("Audit log" in text, "I have no token" in text) == (is_known, not is_known), value


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
async def test_another_site_signs_nobody_in(store: Store, headers: dict[str, str]) -> None:
    data = {"token": store.operator_token}
    async with store.http.post(
        "/console/sign-in/", data=data, headers=headers, allow_redirects=False
    ) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


async def test_a_form_of_another_session_or_site_is_refused(client: Client, store: Store) -> None:
    resume = "credentials/1/resume/"
    await client.sign_in(store.operator_token)
    for word in ("", "x" * 27, "ü"):
        status, text = await client.post(resume, {"csrf": word})
        assert (status, "another session" in text) == (403, True)
    assert (await client.post(resume))[0] == 404  # it was let through: there is no such credential
    assert (await client.post(resume, Origin="https://evil.example"))[0] == 403
    assert (await client.post(resume, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403
    assert (await client.post("sign-out/", {"csrf": ""}))[0] == 403


async def test_pages_say_what_a_browser_may_do(store: Store) -> None:
    async with store.http.get("/console/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
    async with store.http.get("/console/static/console.css") as answer:
        assert answer.status == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with store.http.get("/console/nowhere/") as answer:
        assert answer.status == 404
        assert answer.content_type == "text/html"
    async with store.http.put("/console/") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_the_operators_pages_are_not_found_by_publishers(client: Client, store: Store) -> None:
    app = await store.app()
    await client.sign_in(app.publisher.manage_token)
    for path in OPERATORS:
        assert (await client.get(f"{path}/"))[0] == 404
    assert (await client.post("credentials/1/resume/"))[0] == 404


async def test_it_can_lead_nowhere_else(store: Store) -> None:
    for wanted in ("https://evil.example/", "//evil.example/", "/console//evil.example", "/v1.0/spec/", "x"):
        data = {"token": store.operator_token, "next": wanted}
        async with store.http.post(
            "/console/sign-in/", data=data, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False
        ) as answer:
            assert answer.status == 303
            assert answer.headers["Location"].startswith("/console/")
