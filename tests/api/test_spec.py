"""The page at `/v1.0/spec/`, in a real browser: it shows the description and loads nothing from other hosts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from relay.api.spec import SpecApi
from relay.http.problems import problems
from tests.conftest import find_program

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--virtual-time-budget=10000",
    "--window-size=1000,800",
    "--enable-logging=stderr",
    "--dump-dom",
)


async def browse(url: str, directory: Path) -> tuple[str, str, list[dict[str, Any]]]:
    """Return the rendered page, what the browser logged, and the events of its network log."""
    program, log = find_program("chromium"), directory / "net.json"
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={directory / 'profile'}",
        f"--log-net-log={log}",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(180):
            page, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return page.decode(), errors.decode(), json.loads(log.read_text())["events"]


@pytest.mark.needs("chromium")
async def test_the_page_works_offline(tmp_path: Path) -> None:
    application = web.Application(middlewares=[problems])
    application.add_routes(list(SpecApi().routes()))
    async with TestServer(application) as server:
        origin = str(server.make_url("")).rstrip("/")
        page, errors, events = await browse(f"{origin}/v1.0/spec/#/Sending/send", tmp_path)

    for operation in (
        "Sending-send",
        "Results-getPush",
        "Publisher-addPushToken",
        "Operator-enrol",
        "Service-healthz",
    ):
        assert f'id="operations-{operation}"' in page
    assert "Send a push" in page
    assert "What the PHP sender posts" in page, "the linked operation is unfolded"

    assert not [line for line in errors.splitlines() if "CONSOLE" in line], (
        "neither an error nor a broken policy"
    )
    requested = {
        event["params"]["url"] for event in events if event.get("params", {}).get("initiator") == origin
    }
    assert f"{origin}/v1.0/spec/openapi.yaml" in requested
    assert {urlsplit(url).netloc for url in requested if not url.startswith("data:")} == {
        urlsplit(origin).netloc
    }


async def test_the_policy_of_the_page_allows_no_other_host(aiohttp_client: Any) -> None:
    application = web.Application()
    application.add_routes(list(SpecApi().routes()))
    client = await aiohttp_client(application)
    async with client.get("/v1.0/spec") as response:
        policy = response.headers["Content-Security-Policy"]
    sources = {source for rule in policy.split(";") for source in rule.split()[1:]}
    assert sources <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
