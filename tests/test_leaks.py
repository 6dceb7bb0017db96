"""The search for secrets finds them wherever they stand, and reports no other text."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from relay.core.api_tokens import make_token
from tests.api import pems

from .leaks import Leaks

TOKEN = make_token("push", secrets.token_bytes(32))
DEVICE_TOKEN = secrets.token_bytes(32)
PEM = pems.p8()
SECRETS = {
    "token": TOKEN,
    "install token": f"install_{secrets.token_urlsafe(40)}.{secrets.token_urlsafe(32)}",
    "device token": DEVICE_TOKEN.hex(),
    "udid": f"00008030-{secrets.token_hex(8)}",
    "text": "secret-customer-of-mine",
    "pem": PEM,
}
WAYS: list[Callable[[str], str]] = [
    lambda secret: secret,
    lambda secret: f"failed with {secret!r}, sorry",
    lambda secret: json.dumps({"a": [{"b": f"x {secret}"}]}),
    lambda secret: f"GET /3/device/{secret}?x=1",
]


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_found_before_and_after_it_is_known(kind: str) -> None:
    for way in WAYS:
        for late in (False, True):
            leaks = Leaks()
            if not late:
                leaks.note(kind, SECRETS[kind])
            leaks.search(way(SECRETS[kind]), "somewhere")
            if late:
                leaks.note(kind, SECRETS[kind])
            assert leaks.found(), way(kind)
            assert all(finding.startswith(f"{kind} in somewhere, ") for finding in leaks.found())


def test_a_device_token_is_found_as_bytes_and_in_capitals() -> None:
    for shown in (repr(DEVICE_TOKEN), f"[{DEVICE_TOKEN!r}]", DEVICE_TOKEN.hex().upper()):
        leaks = Leaks()
        leaks.note("device token", DEVICE_TOKEN.hex())
        leaks.search(shown, "somewhere")
        assert leaks.found(), shown


def test_a_secret_in_a_log_line_or_its_traceback_is_found() -> None:
    logger = logging.Logger("a logger")
    for kind, secret in SECRETS.items():
        leaks = Leaks()
        logger.handlers = [leaks]
        leaks.note(kind, secret)
        logger.debug("%s was %s", kind, "a secret")
        assert not leaks.found()
        logger.debug("it is %s", secret)
        assert len(leaks.found()) >= 1
        leaks = Leaks()
        logger.handlers = [leaks]
        leaks.note(kind, secret)
        logger.error("it failed", exc_info=ValueError(secret))
        assert leaks.found()


async def test_an_answer_with_a_secret_is_found_unless_it_issues_the_secret() -> None:
    async def issue(_: web.Request) -> web.Response:
        return web.json_response({"token": TOKEN}, status=201)

    async def show(_: web.Request) -> web.Response:
        return web.json_response({"items": [{"token": TOKEN}]})

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"detail": f"{(await request.json())['device_token']} is wrong"}, status=422)

    async def head(request: web.Request) -> web.Response:
        return web.Response(headers={"Location": f"/{TOKEN}"})

    application = web.Application()
    for method, path, handler in (
        ("POST", "/issue", issue),
        ("GET", "/show", show),
        ("PUT", "/echo", echo),
        ("GET", "/head", head),
    ):
        application.router.add_route(method, path, handler)
    leaks = Leaks()
    async with (
        TestServer(application) as server,
        aiohttp.ClientSession(server.make_url("/"), trace_configs=[leaks.tracing()]) as session,
    ):

        async def ask(method: str, path: str, body: Any = None) -> int:
            before = len(leaks.found())
            async with session.request(method, path, json=body) as response:
                await response.read()
            return len(leaks.found()) - before

        assert await ask("POST", "/issue") == 0
        assert leaks.known == 1
        assert await ask("GET", "/show") == 1
        assert await ask("PUT", "/echo", {"device_token": DEVICE_TOKEN.hex()}) == 1
        leaks = Leaks()
        leaks.note("token", TOKEN)
    async with (
        TestServer(application) as server,
        aiohttp.ClientSession(server.make_url("/"), trace_configs=[leaks.tracing()]) as session,
    ):
        async with session.get("/head") as response:
            assert response.status == 200
        assert [finding.split(",")[0] for finding in leaks.found()] == [
            "token in the headers of GET /head: 200"
        ]


def test_a_run_with_a_leak_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makeconftest("pytest_plugins = ['tests.leaks_plugin']")
    pytester.makepyfile(
        """
        import logging
        from tests.leaks import LEAKS

        def test_it():
            LEAKS.note("a token", "secret-word")
            logging.getLogger("anybody").debug("%s", "secret-word")
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*secrets in logs or answers*", "*a token in the log of anybody*"])
