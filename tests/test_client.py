"""The publisher's client against a server with scripted answers: requests, results and repetitions."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from relay import client
from relay.client import BlockingPushSender, ClientError, Problem, PushSender, Record, RelayClient
from tests.eventually import eventually

ACCEPTED = {"success": True, "push_id": "p1", "targets": 2, "skipped": 0, "warnings": [], "errors": []}
FAULT = {"code": "invalid_customer", "pointer": "/destinations/c_x", "detail": "No such customer."}
PAYLOAD = {"aps": {"alert": "Good morning"}}
SIMULATOR = "9F1B2C3D-0000-4000-8000-00000000ABCD"
Answer = Callable[[web.Request], web.StreamResponse]


class Seen(NamedTuple):
    """A request that the server received."""

    method: str
    path: str
    headers: Any
    body: Any


class Script:
    """A server with an answer for each request. The last answer is repeated."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [accept]
        self.seen: list[Seen] = []
        app = web.Application()
        app.router.add_route("*", "/v1.0/{path:.*}", self._answer)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.seen.append(Seen(request.method, request.match_info["path"], request.headers, body))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return answer(request)


def accept(_: web.Request) -> web.Response:
    return web.json_response(ACCEPTED, status=202)


def drop_connection(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def answer_with(body: Any, status: int = 202, **headers: str) -> Answer:
    header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.json_response(body, status=status, headers=header_fields)


def refuse_with(status: int, **headers: str) -> Answer:
    return answer_with({"success": False, "errors": [FAULT]}, status, **headers)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    script = Script()
    await script.server.start_server(access_log=None)
    yield script
    await script.server.close()


@pytest.fixture
async def sender(script: Script) -> AsyncIterator[PushSender]:
    async with PushSender("push_x", "shop", script.url, patience=10, chance=lambda: 0.0) as sender:
        yield sender


def test_the_file_imports_nothing_but_aiohttp() -> None:
    imported = set()
    for node in ast.walk(ast.parse(Path(client.__file__).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - sys.stdlib_module_names == {"aiohttp"}


# --- requests ---


async def test_a_send_is_one_request(script: Script, sender: PushSender) -> None:
    result = await sender.send(PAYLOAD, {"c_x": []}, collapse_id="news", ttl=60)
    assert (result.success, result.push_id, result.warnings, result.errors) == (True, "p1", (), ())
    (seen,) = script.seen
    assert (seen.method, seen.path) == ("POST", "send/")
    assert seen.headers["Authorization"] == "Bearer push_x"
    assert seen.headers["Idempotency-Key"] == f'"{result.idempotency_key}"'
    assert "Prefer" not in seen.headers
    assert seen.body == {
        "app_id": "shop",
        "payload": PAYLOAD,
        "destinations": {"c_x": []},
        "collapse_id": "news",
        "ttl": 60,
    }


@pytest.mark.parametrize(
    ("recipients", "destinations"),
    [
        ("anna@example.com", ["anna@example.com"]),
        (["anna@example.com", "c_x"], ["anna@example.com", "c_x"]),
        ({"c_x": ["d_y"], "anna@example.com": []}, {"c_x": ["d_y"], "anna@example.com": []}),
        ({"mails": ["anna@example.com"], "customers": ["c_x"]}, ["anna@example.com", "c_x"]),
        ({"mails": "anna@example.com"}, ["anna@example.com"]),
        ("all", "all"),
    ],
)
async def test_all_forms_of_recipients_become_destinations(
    script: Script, sender: PushSender, recipients: Any, destinations: Any
) -> None:
    await sender.send_notification({"title": "Good morning"}, recipients)
    assert script.seen[0].body == {
        "app_id": "shop",
        "notification": {"title": "Good morning"},
        "destinations": destinations,
    }


@pytest.mark.parametrize(
    ("recipients", "fault"),
    [
        ([], ("no_recipients", "/destinations")),
        ({}, ("no_recipients", "/destinations")),
        (["c_x", "ab" * 32], ("device_token", "/destinations/1")),
        ({"deviceTokens": ["ab" * 32]}, ("device_token", "/destinations/0")),
        (["booted"], ("no_simulators", "/destinations")),
        ({SIMULATOR: []}, ("no_simulators", "/destinations")),
    ],
)
async def test_wrong_recipients_are_refused_without_a_request(
    script: Script, sender: PushSender, recipients: Any, fault: tuple[str, str]
) -> None:
    result = await sender.send(PAYLOAD, recipients)
    assert not result.success
    assert [error[:2] for error in result.errors] == [fault]
    assert "abab" not in str(result)
    assert script.seen == []


async def test_recipients_of_the_sender_are_the_default(script: Script) -> None:
    async with PushSender("push_x", "shop", script.url, recipients="anna@example.com") as sender:
        await sender.send_notification({"title": "One"})
        await sender.open("Invoices", {"title": "Two"}, "c_x")
    assert [seen.body["destinations"] for seen in script.seen] == [["anna@example.com"], ["c_x"]]


async def test_open_names_a_list_or_a_record(script: Script, sender: PushSender) -> None:
    await sender.open("Invoices", {"title": "New"}, "c_x")
    await sender.open(Record("Invoices", 7), {"title": "Changed", "data_synchro": False}, "c_x")
    assert [seen.body["notification"] for seen in script.seen] == [
        {"title": "New", "open": {"data_class": "Invoices"}},
        {
            "title": "Changed",
            "data_synchro": False,
            "open": {"data_class": "Invoices", "primary_key": 7},
        },
    ]


async def test_the_first_parameter_of_open_is_a_public_keyword(script: Script, sender: PushSender) -> None:
    await sender.open(what="Invoices", notification={"title": "New"}, recipients="c_x")

    def work() -> None:
        with BlockingPushSender("push_x", "shop", script.url) as blocking:
            blocking.open(what=Record("Invoices", 7), notification={"title": "Changed"}, recipients="c_x")

    await asyncio.to_thread(work)
    assert [seen.body["notification"]["open"] for seen in script.seen] == [
        {"data_class": "Invoices"},
        {"data_class": "Invoices", "primary_key": 7},
    ]


async def test_send_all_goes_to_all(script: Script, sender: PushSender) -> None:
    script.answers = [answer_with(ACCEPTED | {"targets": None, "skipped": None})]
    assert (await sender.send_all({"title": "Good morning"})).success
    assert script.seen[0].body["destinations"] == "all"


async def test_validate_sends_nothing(script: Script, sender: PushSender) -> None:
    script.answers = [
        answer_with({key: ACCEPTED[key] for key in ACCEPTED if key != "push_id"} | {"payload_bytes": 9}, 200)
    ]
    result = await sender.validate({"notification": {"title": "x"}}, ["c_x", "booted"])
    assert (result.success, result.push_id, result.answer["payload_bytes"]) == (True, None, 9)
    assert [(seen.path, "Idempotency-Key" in seen.headers) for seen in script.seen] == [("validate/", False)]


# --- results ---


async def test_a_refusal_is_a_result(script: Script, sender: PushSender) -> None:
    script.answers = [refuse_with(422)]
    result = await sender.send(PAYLOAD, {"c_x": []})
    assert (result.success, result.push_id, result.errors) == (False, None, (Problem(**FAULT),))
    assert len(script.seen) == 1, "a refusal is not repeated"
    with pytest.raises(ClientError, match=r"^/destinations/c_x No such customer\.$"):
        result.raise_for_errors()


async def test_a_push_without_targets_is_no_success(script: Script, sender: PushSender) -> None:
    warning = {"code": "no_devices", "pointer": "/destinations/c_x", "detail": "There is no device."}
    script.answers = [
        answer_with(ACCEPTED | {"targets": 0, "warnings": [warning]}),
        answer_with(ACCEPTED | {"targets": 0, "skipped": 3}),
    ]
    unreached = await sender.send(PAYLOAD, {"c_x": []})
    assert (unreached.success, unreached.push_id, unreached.warnings) == (False, "p1", (Problem(**warning),))
    assert [error.code for error in unreached.errors] == ["no_recipients"]
    unlisted = await sender.send(PAYLOAD, {"c_x": []}, debug=True)
    assert "3 copies" in unlisted.errors[0].detail


async def test_an_awaited_outcome_decides_the_success(script: Script, sender: PushSender) -> None:
    def ended(delivered: int, **reasons: int) -> Answer:
        push = {"state": "done", "counts": {"delivered": delivered}, "reasons": reasons}
        return answer_with(ACCEPTED | {"push": push}, 200)

    script.answers = [ended(1, Unregistered=1), ended(0, BadTopic=2), accept]
    some = await sender.send(PAYLOAD, {"c_x": []}, wait=20)
    assert script.seen[0].headers["Prefer"] == "wait=20"
    assert "wait" not in script.seen[0].body
    assert (some.success, [warning.detail for warning in some.warnings]) == (True, ["1 × Unregistered"])
    none = await sender.send(PAYLOAD, {"c_x": []}, wait=20)
    assert (none.success, [error.detail for error in none.errors]) == (False, ["2 × BadTopic"])
    assert (await sender.send(PAYLOAD, {"c_x": []}, wait=1)).success, (
        "accepted, and the outcome is not known yet"
    )


async def test_watch_ends_when_all_outcomes_are_known(script: Script, sender: PushSender) -> None:
    course = [("queued", 2), ("sending", 1), ("cancelled", 1), ("cancelled", 0)]
    script.answers = [
        answer_with({"state": state, "counts": {"pending": pending}}, 200) for state, pending in course
    ]
    seen = [push async for push in sender.watch("p1", 0.01)]
    assert [(push["state"], push["counts"]["pending"]) for push in seen] == course


async def test_an_answer_that_is_not_a_relays_is_an_error(script: Script, sender: PushSender) -> None:
    script.answers = [
        lambda _: web.Response(text="<h1>It works!</h1>"),
        lambda _: web.Response(status=404, text="nothing"),
        answer_with({"ok": True}),
        answer_with(["ok"]),
        lambda request: web.Response(
            status=307, headers={"Location": str(request.url.with_path("/v1.0/other/"))}
        ),
    ]
    for _ in range(5):
        result = await sender.send(PAYLOAD, {"c_x": []})
        assert [error.code for error in result.errors] == ["not_a_relay"]
    assert {seen.path for seen in script.seen} == {"send/"}, "the client follows no redirect"


async def test_a_payload_that_is_not_json_is_a_type_error(script: Script, sender: PushSender) -> None:
    with pytest.raises(TypeError, match="datetime"):
        await sender.send({**PAYLOAD, "at": datetime.now(UTC)}, {"c_x": []})
    assert script.seen == []


async def test_unknown_members_of_a_problem_are_ignored(script: Script, sender: PushSender) -> None:
    script.answers = [answer_with(ACCEPTED | {"warnings": [{**FAULT, "hint": "new"}]})]
    result = await sender.send(PAYLOAD, {"c_x": []})
    assert (result.push_id, result.warnings, result.errors) == ("p1", (Problem(**FAULT),), ())


# --- repetitions ---


@pytest.mark.parametrize("trouble", [refuse_with(429), refuse_with(503), refuse_with(409), drop_connection])
async def test_a_send_is_repeated_under_its_key(script: Script, sender: PushSender, trouble: Answer) -> None:
    script.answers = [trouble, trouble, accept]
    assert (await sender.send(PAYLOAD, {"c_x": []})).success
    assert len(script.seen) == 3
    assert len({seen.headers["Idempotency-Key"] for seen in script.seen}) == 1
    assert script.seen[0].body == script.seen[1].body == script.seen[2].body


async def test_each_send_has_another_key(script: Script, sender: PushSender) -> None:
    first, second = [await sender.send(PAYLOAD, {"c_x": []}) for _ in range(2)]
    assert first.idempotency_key != second.idempotency_key
    again = await sender.send(PAYLOAD, {"c_x": []}, idempotency_key=first.idempotency_key)
    assert again.idempotency_key == first.idempotency_key
    await sender.send(PAYLOAD, {"c_x": []}, idempotency_key='a "b" \\')
    keys = [seen.headers["Idempotency-Key"] for seen in script.seen]
    assert keys[0] == keys[2] != keys[1]
    assert keys[3] == r'"a \"b\" \\"'
    with pytest.raises(ValueError, match="ASCII"):
        await sender.send(PAYLOAD, {"c_x": []}, idempotency_key="é\n")


async def test_retry_after_delays_the_repetition(script: Script, sender: PushSender) -> None:
    script.answers = [refuse_with(429, Retry_After="1"), accept]
    clock = asyncio.get_running_loop().time
    start = clock()
    assert (await sender.send(PAYLOAD, {"c_x": []})).success
    assert clock() - start >= 1


async def test_no_attempt_begins_after_the_patience(script: Script) -> None:
    script.answers = [refuse_with(503, Retry_After="30")]
    async with PushSender("push_x", "shop", script.url, patience=5) as sender:
        result = await sender.send(PAYLOAD, {"c_x": []}, idempotency_key="mine")
    assert (result.success, result.errors, result.idempotency_key) == (False, (Problem(**FAULT),), "mine")
    assert len(script.seen) == 1, "a repetition after 30 s would begin after the patience"


async def test_an_unreachable_relay_is_an_error_without_the_token(script: Script) -> None:
    url = script.url
    await script.server.close()
    async with PushSender("push_secret", "shop", url, patience=1, chance=lambda: 0.0) as sender:
        result = await sender.send(PAYLOAD, {"c_x": []})
        assert [error.code for error in result.errors] == ["unreachable"]
        with pytest.raises(ClientError) as raised:
            await sender.push("p1")
    assert raised.value.status == 0
    assert "push_secret" not in f"{raised.value!r} {result} {sender!r}"


async def test_a_post_without_a_key_is_not_repeated(script: Script) -> None:
    script.answers = [refuse_with(503)]
    async with RelayClient("manage_x", script.url, patience=10) as relay:
        with pytest.raises(ClientError):
            await relay.call("POST", "apps/shop/webhooks/", {})
        script.answers = [refuse_with(503), answer_with({"items": [], "next": None}, 200)]
        assert [item async for item in relay.every("apps/")] == []
    assert [seen.method for seen in script.seen] == ["POST", "GET", "GET"]


async def test_a_list_is_read_page_by_page(script: Script, sender: PushSender) -> None:
    script.answers = [
        answer_with({"items": [{"n": 1}], "next": "a/b"}, 200),
        answer_with({"items": [{"n": 2}], "next": None}, 200),
    ]
    assert [item["n"] async for item in sender.every("customers/?app_id=shop")] == [1, 2]


# --- without asyncio ---


async def test_threads_share_a_blocking_sender(script: Script) -> None:
    def work() -> list[str | None]:
        with (
            BlockingPushSender("push_x", "shop", script.url) as sender,
            ThreadPoolExecutor(4) as threads,
        ):
            assert sender.send_all({"title": "x"}).success
            assert sender.call("GET", "pushes/p1/")["push_id"] == "p1"
            sends = [threads.submit(sender.send, PAYLOAD, {"c_x": []}) for _ in range(8)]
            return [send.result().push_id for send in sends]

    assert await asyncio.to_thread(work) == ["p1"] * 8
    assert len({seen.headers.get("Idempotency-Key") for seen in script.seen}) == 10


async def test_close_cancels_a_send_of_another_thread(script: Script) -> None:
    script.answers = [refuse_with(503, Retry_After="20")]

    with ThreadPoolExecutor(1) as threads:
        sender = await asyncio.to_thread(BlockingPushSender, "push_x", "shop", script.url, patience=3600)
        sending = threads.submit(sender.send, PAYLOAD, {"c_x": []})
        await eventually(lambda: script.seen)
        await asyncio.to_thread(sender.close)
        ended_by = await asyncio.to_thread(sending.exception, 60)
    assert isinstance(ended_by, CancelledError)
