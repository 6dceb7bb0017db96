"""A browser, or a plain HTTP client, at a whole relay. A test fails if the browser reports a problem."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright, expect

from relay.node.main import Relay
from relay.store.accounts.credentials import Credentials
from tests.conftest import find_program
from tests.end_to_end.conftest import apns, dispatch, limits, relay, roles, settings, store  # noqa: F401
from tests.end_to_end.store import App
from tests.eventually import eventually

TIMEOUT_MILLISECONDS = 180_000
"""A busy machine is no failure."""
PHONE = {"width": 320, "height": 640}
"""Pixels."""
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"


class BrowserProblems:
    """The problems that a browser reported: errors on its console and in scripts, and failed requests."""

    def __init__(self) -> None:
        self._allowed: list[str] = []
        self._messages: list[str] = []

    def allow(self, text: str) -> None:
        """Expect problems whose message contains `text`, for example "403"."""
        self._allowed.append(text)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._messages.append(f"script: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    @property
    def unexpected(self) -> list[str]:
        return [message for message in self._messages if not any(text in message for text in self._allowed)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._messages.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # the page was left before the answer came
            self._messages.append(f"request: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._messages.append(f"answer: {response.request.method} {response.url}: {response.status}")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL that drives the one Chromium of the run, whose start takes longer than most tests."""
    program = find_program("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    profile = tmp_path_factory.mktemp("chromium")
    command = [program, *CHROMIUM, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    # A process group of its own, because distributions wrap Chromium in a script, and both must end.
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        port_file = profile / "DevToolsActivePort"  # two lines: the port and a path

        def port_of_chromium() -> str:
            assert process.poll() is None, "Chromium ended"
            port, _path = port_file.read_text().splitlines()
            return port

        yield f"http://127.0.0.1:{asyncio.run(eventually(port_of_chromium))}"
        os.killpg(process.pid, signal.SIGTERM)


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium, timeout=TIMEOUT_MILLISECONDS)
        yield browser
        await browser.close()


@pytest.fixture
def problems() -> BrowserProblems:
    return BrowserProblems()


@pytest.fixture
async def page(browser: Browser, relay: Relay, problems: BrowserProblems) -> AsyncIterator[Page]:  # noqa: F811
    """A page of a browser without cookies."""
    context = await browser.new_context(base_url=relay.url, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    page = await context.new_page()
    problems.watch(page)
    yield page
    await context.close()
    assert problems.unexpected == []


class ConsoleClient:
    """The console without a browser: one session, whose forms carry their CSRF token."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self._csrf_token = ""

    async def sign_in(self, token: str) -> None:
        async with self.http.post("/console/sign-in/", data={"token": token}) as answer:
            field = re.search(r'name="csrf" value="([^"]+)"', await answer.text())
        assert field, "not signed in"
        self._csrf_token = field[1]

    async def get(self, path: str) -> tuple[int, str]:
        async with self.http.get(f"/console/{path}") as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, fields: Mapping[str, str] = {}, **headers: str) -> tuple[int, str]:
        """Post a form and return the answer after redirects. A field `csrf` replaces the right token."""
        data = {"csrf": self._csrf_token, **fields}
        async with self.http.post(f"/console/{path}", data=data, headers=headers) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def client(relay: Relay) -> AsyncIterator[ConsoleClient]:  # noqa: F811
    # By default, aiohttp stores no cookies for IP addresses.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(relay.url, cookie_jar=jar, headers={"Origin": relay.url}) as http:
        yield ConsoleClient(http)


async def sign_in(page: Page, token: str) -> None:
    """Sign in with an API token through the form."""
    await page.goto("/console/")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Sign out").wait_for()


async def open_section(page: Page, app: App, section: str) -> None:
    """Sign in as the publisher of `app`, and follow the link to a section of it."""
    await sign_in(page, app.publisher.manage_token)
    await page.get_by_role("link", name=re.compile(app.app_id)).click()
    await page.get_by_role("link", name=section, exact=True).click()
    await expect(page.get_by_role("link", name=section, exact=True)).to_have_attribute("aria-current", "page")


async def suspend_credential(node: Relay, reason: str = "InvalidProviderToken") -> int:
    """Suspend the only credential, as an answer of Apple's would; return its id."""
    async with node.database.connection() as connection:
        credential_id: int = await connection.fetchval("SELECT credential_id FROM credential")
    assert await Credentials(node.database, ("x" * 32,)).suspend(credential_id, reason, datetime.now(UTC))
    return credential_id


async def operator_actions(node: Relay) -> list[str]:
    """Return the actions of operators in the audit log, newest first."""
    async with node.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT action FROM audit WHERE actor = 'operator' ORDER BY audit_id DESC"
        )
    return [row["action"] for row in rows]


async def check_appearance(page: Page, name: str, *, full_page: bool = True) -> None:
    """Show the page in both colour schemes, and check that it does not scroll sideways on a phone.

    With SCREENSHOTS=1 pictures are stored in docs/screenshots: NAME.png, NAME-dark.png and NAME-phone.png.
    """
    desktop = page.viewport_size
    schemes: tuple[Literal["light", "dark"], ...] = ("dark", "light")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        await _take_screenshot(page, name if scheme == "light" else f"{name}-dark", full_page)
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    width = await page.evaluate("document.documentElement.scrollWidth")
    await _take_screenshot(page, f"{name}-phone", full_page)
    assert width <= PHONE["width"], f"{name} is {width} pixels wide on a phone"
    if desktop is not None:
        await page.set_viewport_size(desktop)


async def _take_screenshot(page: Page, name: str, full_page: bool) -> None:
    if os.environ.get("SCREENSHOTS"):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        # A picture of the whole page keeps the scroll position of sticky parts, and leaves out what is not painted yet.
        await page.evaluate(
            "() => new Promise(done => { scrollTo(0, 0);"
            " requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 300))) })"
        )
        await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full_page)
