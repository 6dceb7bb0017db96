"""A real browser at a whole relay. Whatever the browser complains of fails the test."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright

from relay.node.main import Relay
from tests.conftest import find_program
from tests.end_to_end.conftest import apns, dispatch, relay, settings, store  # noqa: F401
from tests.eventually import eventually

PATIENCE = 180_000
"""Milliseconds: a busy machine is no failure."""
PHONE = {"width": 320, "height": 640}
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


class Problems:
    """What the browser complained of: errors on its console, in scripts, and requests that failed."""

    def __init__(self) -> None:
        self._allowed: list[str] = []
        self.found: list[str] = []

    def allow(self, text: str) -> None:
        """A complaint with that text in it belongs to the test: "403", say."""
        self._allowed.append(text)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"script: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    @property
    def unexpected(self) -> list[str]:
        return [one for one in self.found if not any(text in one for text in self._allowed)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # the page was left before
            self.found.append(f"request: {request.method} {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.found.append(f"answer: {response.request.method} {response.url}: {response.status}")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Chromium for the whole run, as the URL that drives it: its start takes longer than most tests."""
    program = find_program("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    profile = tmp_path_factory.mktemp("chromium")
    command = [program, *CHROMIUM, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    # In a group of its own: distributions wrap it in a script, which would be all that ends.
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        listening = profile / "DevToolsActivePort"  # its port, then a path

        def port_of_chromium() -> str:
            assert process.poll() is None, "Chromium ended"
            port, _path = listening.read_text().splitlines()
            return port

        yield f"http://127.0.0.1:{asyncio.run(eventually(port_of_chromium))}"
        os.killpg(process.pid, signal.SIGTERM)


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium, timeout=PATIENCE)
        yield browser
        await browser.close()


@pytest.fixture
def problems() -> Problems:
    return Problems()


@pytest.fixture
async def page(browser: Browser, relay: Relay, problems: Problems) -> AsyncIterator[Page]:  # noqa: F811
    """A page of a browser that was never here before."""
    context = await browser.new_context(base_url=relay.url, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    opened = await context.new_page()
    problems.watch(opened)
    yield opened
    await context.close()
    assert problems.unexpected == []


class Client:
    """The console without a browser: one session, whose forms carry their word."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self._word = ""

    async def sign_in(self, token: str) -> None:
        async with self.http.post("/console/sign-in/", data={"token": token}) as answer:
            found = re.search(r'name="csrf" value="([^"]+)"', await answer.text())
        assert found, "not signed in"
        self._word = found[1]

    async def get(self, path: str) -> tuple[int, str]:
        async with self.http.get(f"/console/{path}") as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, fields: Mapping[str, str] = {}, **headers: str) -> tuple[int, str]:
        """The answer, after redirects. A field `csrf` replaces the right word."""
        data = {"csrf": self._word, **fields}
        async with self.http.post(f"/console/{path}", data=data, headers=headers) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def client(relay: Relay) -> AsyncIterator[Client]:  # noqa: F811
    # Its address has no name, and aiohttp keeps no cookies for such unless told so.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(relay.url, cookie_jar=jar, headers={"Origin": relay.url}) as http:
        yield Client(http)


async def sign_in(page: Page, token: str) -> None:
    """Sign in with an API token, as a person would."""
    await page.goto("/console/")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Sign out").wait_for()


async def look(page: Page, name: str, *, full_page: bool = True) -> None:
    """The page as a reader meets it: no sideways scrolling on a phone, in both colour schemes, and pictures if wanted.

    With SCREENSHOTS=1 pictures are kept in docs/screenshots: NAME.png, NAME-dark.png and NAME-phone.png.
    """
    before = page.viewport_size
    schemes: tuple[Literal["light", "dark"], ...] = ("dark", "light")
    for scheme in schemes:
        await page.emulate_media(color_scheme=scheme)
        await _keep(page, name if scheme == "light" else f"{name}-dark", full_page)
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    wide = await page.evaluate("document.documentElement.scrollWidth")
    await _keep(page, f"{name}-phone", full_page)
    assert wide <= PHONE["width"], f"{name} is {wide} pixels wide on a phone"
    if before is not None:
        await page.set_viewport_size(before)


async def _keep(page: Page, name: str, full_page: bool) -> None:
    if os.environ.get("SCREENSHOTS"):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        # What is scrolled to stays where it is in a picture of the whole page, and what is not painted yet is left out.
        await page.evaluate(
            "() => new Promise(done => { scrollTo(0, 0);"
            " requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 300))) })"
        )
        await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full_page)
