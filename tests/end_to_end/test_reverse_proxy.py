"""A relay behind the real nginx with config/nginx.conf; only addresses, ports and files are replaced."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
from aiohttp import web

from relay.node.main import Relay
from tests.apns.test_servers import free_port
from tests.conftest import find_program
from tests.eventually import eventually

from .store import ALERT, PATIENCE, Store

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.needs("nginx")


def configuration(folder: Path, node: str, clear: int, encrypted: int) -> str:
    """Return config/nginx.conf with one node that runs and one that does not."""
    text = (ROOT / "config" / "nginx.conf").read_text("utf-8")
    issued = (ca := trustme.CA()).issue_cert("localhost")
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    temp_paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    for original, replacement in {
        "http {": f"daemon off; {user} http {{ {temp_paths}",
        "pid /run/nginx.pid;": f"pid {folder}/pid;",
        "/dev/stderr": f"{folder}/error.log",
        "/dev/stdout": f"{folder}/access.log",
        "/etc/nginx/tls/fullchain.pem": f"{folder}/both.pem",
        "/etc/nginx/tls/privkey.pem": f"{folder}/both.pem",
        "relay-1:8080": node,
        "relay-2:8080": f"127.0.0.1:{free_port()}",
        "listen 80 ": f"listen 127.0.0.1:{clear} ",
        "listen 443 ": f"listen 127.0.0.1:{encrypted} ",
    }.items():
        assert original in text
        text = text.replace(original, replacement)
    return text


class Proxy:
    """A running nginx and an HTTP/2 client of it."""

    def __init__(self, folder: Path, client: httpx.AsyncClient, clear: str) -> None:
        self._folder = folder
        self.client = client
        self.clear = clear

    def logged(self) -> str:
        return (self._folder / "access.log").read_text()


@asynccontextmanager
async def proxy(folder: Path, node: str) -> AsyncIterator[Proxy]:
    clear, encrypted = free_port(), free_port()
    folder /= "nginx"  # the stand-in's authority lies beside it
    folder.mkdir()
    (folder / "nginx.conf").write_text(configuration(folder, node, clear, encrypted))
    program = find_program("nginx")
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")
    )
    trusted = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    try:
        async with httpx.AsyncClient(
            http2=True, verify=trusted, base_url=f"https://localhost:{encrypted}", timeout=2 * PATIENCE
        ) as client:

            async def answers() -> httpx.Response:
                assert process.returncode is None, (folder / "error.log").read_text()
                return await client.get("/metrics")

            await eventually(answers, poll_seconds=0.05)
            yield Proxy(folder, client, f"http://127.0.0.1:{clear}")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def mirror() -> AsyncIterator[str]:
    """Run a node that answers with the request's headers, and yield its address."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(list(request.headers.items()))

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_forwarded_headers_of_callers_are_replaced(tmp_path: Path) -> None:
    forged = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.2, 192.0.2.3"),
        ("X-Forwarded-Proto", "http"),
        ("Forwarded", "for=192.0.2.4"),
        ("X-Request-Id", "the-callers-own"),
    ]
    async with mirror() as node, proxy(tmp_path, node) as nginx:
        for _ in range(4):  # without failover, every second request would fail
            answer = await nginx.client.get("/anything", headers=forged)
            assert answer.http_version == "HTTP/2"
            assert answer.headers["Strict-Transport-Security"]
            seen: list[tuple[str, str]] = [(name.lower(), value) for name, value in answer.json()]
            by_name = {name: [value for other, value in seen if other == name] for name, _ in seen}
            assert by_name["x-forwarded-for"] == ["127.0.0.1"]
            assert by_name["x-forwarded-proto"] == ["https"]
            assert by_name["x-request-id"] == ["the-callers-own"]
            assert "forwarded" not in by_name


async def test_a_relay_behind_nginx_accepts_pushes(relay: Relay, store: Store, tmp_path: Path) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    body: dict[str, Any] = {"app_id": app.app_id, "payload": ALERT, "destinations": {copy.customer: []}}
    headers = {"Authorization": f"Bearer {app.push_token}"}
    async with proxy(tmp_path, str(urlsplit(relay.url).netloc)) as nginx:
        # On one connection, at the same time.
        answers = await asyncio.gather(
            *(
                nginx.client.post("/v1.0/send/?a=secret-argument", json=body, headers=headers)
                for _ in range(10)
            )
        )
        for answer in answers:
            assert (answer.http_version, answer.status_code) == ("HTTP/2", 202)
            page = await store.done(app, answer.json()["push_id"])
            assert page["counts"]["delivered"] == 1

        # The relay itself refuses a body that is too large.
        large = json.dumps(body | {"more": "x" * 4_300_000}).encode()
        refused = await nginx.client.post(
            "/v1.0/send/", content=large, headers={**headers, "Content-Type": "application/json"}
        )
        assert refused.status_code == 413
        assert refused.json()["success"] is False

        assert (await nginx.client.get("/healthz")).status_code == 200
        assert (await nginx.client.get("/metrics")).status_code == 404
        assert "Server" not in refused.headers or "/" not in refused.headers["Server"]
        assert "secret-argument" not in nginx.logged()


async def test_plain_http_is_refused_or_redirected(tmp_path: Path) -> None:
    async with proxy(tmp_path, f"127.0.0.1:{free_port()}") as nginx, httpx.AsyncClient() as clear:
        sent = await clear.post(f"{nginx.clear}/v1.0/send/", headers={"Authorization": "Bearer push_x"})
        assert sent.status_code == 403
        typed = await clear.get(f"{nginx.clear}/console/")
        assert (typed.status_code, typed.headers["Location"]) == (308, "https://127.0.0.1/console/")


async def test_without_a_node_the_answer_is_a_problem(tmp_path: Path) -> None:
    async with proxy(tmp_path, f"127.0.0.1:{free_port()}") as nginx:
        answer = await nginx.client.post("/v1.0/send/", json={})
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"] == "5"
        assert answer.json()["code"] == "unavailable"
