"""Tests of the commands' client against a server that redirects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from relay.cli.operator_client import OperatorClient, OperatorError

Request = tuple[str, str, str | None, Any]
"""Method, path, Authorization header and body."""


class Relay:
    """A server that answers requests to `/relay/v1.0/` and notes them."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        application = web.Application()
        application.router.add_route("*", "/relay/v1.0/{path:.*}", self._answer)
        self.server = TestServer(application)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        path = request.match_info["path"]
        self.requests.append((request.method, path, request.headers.get("Authorization"), body))
        if request.method == "GET":
            return web.json_response({"items": [{"id": "1"}], "next": None})
        return web.json_response({"id": "1"}, status=201)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    await relay.server.start_server(access_log=None)
    yield relay
    await relay.server.close()


def redirect_to(base: str, status: int) -> web.Application:
    """Return an application that redirects `/v1.0/…` to the path below `base`."""

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": f"{base}{request.path_qs}"})

    application = web.Application()
    application.router.add_route("*", "/v1.0/{path:.*}", redirect)
    return application


@pytest.mark.parametrize("status", [307, 308])
async def test_commands_follow_redirects_of_their_origin(relay: Relay, status: int) -> None:
    application = redirect_to("/relay", status)
    application.router.add_route("*", "/relay/v1.0/{path:.*}", relay._answer)
    async with (
        TestServer(application) as server,
        OperatorClient(str(server.make_url("/")), "operator_x") as client,
    ):
        assert await client.call("POST", "operator/publishers/", {"name": "Ada"}) == {"id": "1"}
        assert [item async for item in client.list_items("operator/apps/")] == [{"id": "1"}]
    assert relay.requests == [
        ("POST", "operator/publishers/", "Bearer operator_x", {"name": "Ada"}),
        ("GET", "operator/apps/", "Bearer operator_x", None),
    ]


@pytest.mark.parametrize("status", [307, 308])
async def test_another_origin_does_not_get_the_token(relay: Relay, status: int) -> None:
    application = redirect_to(str(relay.server.make_url("/relay")), status)
    async with (
        TestServer(application) as server,
        OperatorClient(str(server.make_url("/")), "operator_x") as client,
    ):
        await client.call("POST", "operator/publishers/", {"name": "Ada"})
    assert relay.requests == [("POST", "operator/publishers/", None, {"name": "Ada"})]


async def test_endless_redirects_are_an_error_that_names_the_relay() -> None:
    async with (
        TestServer(redirect_to("", 307)) as server,
        OperatorClient(str(server.make_url("/")), "operator_x") as client,
    ):
        with pytest.raises(OperatorError, match="cannot be reached: TooManyRedirects"):
            await client.call("GET", "operator/apps/")
