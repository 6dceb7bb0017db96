"""Answers to errors, on a real server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.core.errors import Conflict, Fault, TooManyRequests
from relay.http.problems import PROBLEM_TYPE, problems

Client = TestClient[web.Request, web.Application]
ERRORS: dict[str, Exception] = {
    "conflict": Conflict("There are two.", [Fault("conflict", "/name", "Taken.")]),
    "too-many": TooManyRequests("Wait.", headers={"Retry-After": "7"}),
    "unexpected": ValueError("secret-value"),
    "redirect": web.HTTPFound("/elsewhere"),
}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async def raise_error(request: web.Request) -> web.StreamResponse:
        raise ERRORS[request.match_info["name"]]

    async def read_body(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    application = web.Application(middlewares=[problems], client_max_size=10)
    application.router.add_get("/errors/{name}", raise_error)
    application.router.add_post("/body", read_body)
    application.router.add_put("/body", read_body)
    async with TestClient(TestServer(application)) as connected:
        yield connected


async def ask(client: Client, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any], Any]:
    """Return status, body and headers of the answer, which is a problem."""
    async with client.request(method, path, **options) as response:
        assert response.content_type == PROBLEM_TYPE
        body = await response.json(content_type=PROBLEM_TYPE)
        assert (body["status"], body["success"], body["type"]) == (response.status, False, "about:blank")
        return response.status, body, response.headers


async def test_a_problem_holds_the_faults_and_the_request_id(client: Client) -> None:
    status, body, _ = await ask(client, "GET", "/errors/conflict", headers={"X-Request-Id": "my-request-1"})
    assert (status, body["code"], body["detail"]) == (409, "conflict", "There are two.")
    assert body["errors"] == [{"code": "conflict", "pointer": "/name", "detail": "Taken."}]
    assert body["request_id"] == "my-request-1"


async def test_headers_of_an_error_are_sent(client: Client) -> None:
    status, _, headers = await ask(client, "GET", "/errors/too-many")
    assert (status, headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nowhere", 404, "There is nothing at this path."),
        ("GET", "/body", 405, "This path takes POST, PUT."),
        ("POST", "/body", 413, "The body is larger than 10 bytes."),
    ],
)
async def test_errors_of_aiohttp_are_problems_too(
    client: Client, method: str, path: str, status: int, detail: str
) -> None:
    answered, body, headers = await ask(client, method, path, data=b"x" * 11 if method == "POST" else None)
    assert (answered, body["detail"]) == (status, detail)
    assert headers.get("Allow") == ("POST, PUT" if status == 405 else None)


async def test_other_answers_of_aiohttp_stay_as_they_are(client: Client) -> None:
    async with client.get("/errors/redirect", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")


async def test_an_unexpected_error_is_logged_without_its_values(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        status, body, _ = await ask(client, "GET", "/errors/unexpected")
    assert status == 500
    assert "secret-value" not in str(body)
    assert "unexpected error" in caplog.text
    assert "secret-value" not in caplog.text
