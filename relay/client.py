"""Send pushes from a publisher's program. This file needs aiohttp and nothing of the relay: it may be copied.

    async with PushSender("push_…", "myapp", url="https://push.example.com") as sender:
        result = await sender.send_notification({"title": "Good morning"}, "anna@example.com")
        print(result.success, result.warnings, result.errors, result.push_id)

`BlockingPushSender` has the same methods for programs without asyncio.

What a send came to is a `Result`, refusals included: `errors` says what is wrong. Whatever else is asked raises
ClientError. Each send carries an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) and is repeated under it
when the relay is away, too busy or does not answer, so it is pushed once.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ssl import SSLContext
from types import TracebackType
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote
from uuid import uuid4

import aiohttp

P = ParamSpec("P")
T = TypeVar("T")

Recipients = str | Sequence[str] | Mapping[str, Sequence[str]]
"""Who gets a push, in any of these forms:

- one customer `c_…`, e-mail address or simulator (its UDID, or "booted"); or "all", which is everybody
- a list that mixes those
- the map of the API: {"c_…": [], "c_…": ["d_…"], "anna@example.com": []}
- the map of 4D: {"mails": […], "simulators": […]}, and "customers"
"""
EVERYBODY = "all"
_SIMULATOR = re.compile(r"booted|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_DEVICE_TOKEN = re.compile(r"(?:[0-9A-Fa-f]{2}){32,100}")
_KINDS = frozenset({"mails", "customers", "simulators", "deviceTokens"})
_COME_BACK = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Statuses after which a request is repeated, if that does no harm. 409: the first one is still at work."""
_HOPELESS = (aiohttp.InvalidURL, aiohttp.ClientSSLError)
"""Repeating mends neither an address nor a certificate."""


class Problem(NamedTuple):
    """A warning or an error: a stable code, the JSON pointer of the field ("" for all), and a sentence."""

    code: str
    pointer: str
    detail: str


class ClientError(Exception):
    """The relay refused, or gave no answer: then `status` is 0, else that of HTTP. `errors` says what is wrong."""

    def __init__(self, errors: Sequence[Problem], status: int = 0) -> None:
        super().__init__("; ".join(f"{error.pointer} {error.detail}".lstrip() for error in errors))
        self.errors = tuple(errors)
        self.status = status


@dataclass(frozen=True, slots=True)
class Result:
    """What a send came to. `success`: it goes to at least one copy of the app, or went to a simulator.

    `answer` is all that the relay said; if the outcome was waited for and came in time, `answer["push"]` is that.
    `idempotency_key` makes it safe to send the same again later.
    """

    success: bool
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()
    push_id: str | None = None
    idempotency_key: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def raise_for_errors(self) -> Self:
        """The result itself. Raises ClientError if it has errors."""
        if self.errors:
            raise ClientError(self.errors)
        return self


class Record(NamedTuple):
    """One record that the app is to open."""

    data_class: str
    primary_key: str | int


class Options(TypedDict, total=False):
    """What a send may say besides: fields of `POST /v1.0/send/`, and two that become headers.

    `wait` is for how many seconds (60 at most) to wait for the outcome. `idempotency_key` is printable ASCII, else
    there is a ValueError.
    """

    push_type: str
    priority: int
    expiration: int
    ttl: int
    collapse_id: str
    activity: str
    debug: bool
    wait: int
    idempotency_key: str


class SimulatorDoor(Protocol):
    """The way to iOS simulators: `relay.simulator.Simulators`."""

    async def push(self, simulators: Sequence[str], content: Mapping[str, Any]) -> Result:
        """Push `content`, {"payload"} or {"notification"} as in a send, to these simulators."""


class RelayClient:
    """The API of the relay at `url` under one token, as plain values. An async context manager.

    `timeout` is how many seconds one attempt of a request may take; `patience` is after how many no other is begun.
    `ssl` is for a relay whose certificate comes from a CA of your own. A session that is given is left open.
    """

    def __init__(
        self,
        token: str,
        url: str = "http://127.0.0.1:8080",
        *,
        patience: float = 60.0,
        timeout: float = 30.0,
        ssl: SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self._url = url.rstrip("/")
        self._patience = patience
        self._timeout = timeout
        self._ssl = ssl
        self._session = session
        self._own_session = session is None
        self._chance = chance

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, if it is our own."""
        if self._own_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        wait: int = 0,
    ) -> Any:
        """The answer of `/v1.0/<path>` as plain values, None without a body. Raises ClientError.

        A POST without an Idempotency-Key is repeated only after 429, where nothing was done. An attempt may take
        `wait` seconds more than usual.
        """
        headers = {**self._headers, **(headers or {})}
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience + wait
        longest_pause = 0.5
        while True:
            asked = 0.0
            try:
                status, asked, text = await self._once(method, path, body, headers, self._timeout + wait)
                if status < 300:
                    return self._decode(status, text)
                failure = ClientError(self._problems(status, text), status)
                again = status in _COME_BACK
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                detail = f"The relay at {self._url} cannot be reached: {type(error).__name__}."
                failure = ClientError([Problem("unreachable", "", detail)])
                again = not isinstance(error, _HOPELESS)
            harmless = method != "POST" or "Idempotency-Key" in headers or failure.status == 429
            # By chance, so that all who were refused at once don't come back at once.
            pause = asked + longest_pause * (0.5 + self._chance() / 2)
            if not (again and harmless) or clock() + pause > deadline:
                raise failure
            await asyncio.sleep(pause)
            longest_pause = min(8.0, 2 * longest_pause)

    async def every(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """All items of a list, page after page. Raises ClientError."""
        start = f"{path}{'&' if '?' in path else '?'}limit=1000"
        page = await self.call("GET", start)
        while True:
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            page = await self.call("GET", f"{start}&cursor={quote(page['next'], safe='')}")

    async def _once(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout: float
    ) -> tuple[int, float, bytes]:
        """One attempt: status, the seconds that Retry-After asks for, and body."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        async with self._session.request(
            method,
            f"{self._url}/v1.0/{path}",
            json=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout),
            ssl=self._ssl or True,
            allow_redirects=False,  # the token is for this relay only
        ) as response:
            seconds = response.headers.get("Retry-After", "")
            asked = float(seconds) if re.fullmatch("[0-9]{1,9}", seconds) else 0.0
            return response.status, asked, await response.read()

    def _decode(self, status: int, text: bytes) -> Any:
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise ClientError([self._no_relay(status)], status) from None

    def _problems(self, status: int, text: bytes) -> list[Problem]:
        try:
            errors = json.loads(text)["errors"]
            return [_problem(error) for error in errors]
        except (ValueError, LookupError, TypeError):
            return [self._no_relay(status)]

    def _no_relay(self, status: int | str) -> Problem:
        return Problem("not_a_relay", "", f"{self._url} answers {status}, and not as a relay does.")


class PushSender(RelayClient):
    """Sends pushes to the copies of one app.

    `recipients` are those of sends that name none, `simulators` the way to iOS simulators; `connection` is what
    RelayClient takes besides.
    """

    def __init__(
        self,
        token: str,
        app_id: str,
        url: str = "http://127.0.0.1:8080",
        *,
        recipients: Recipients = (),
        simulators: SimulatorDoor | None = None,
        **connection: Any,
    ) -> None:
        super().__init__(token, url, **connection)
        self._app_id = app_id
        self._recipients = recipients
        self._simulators = simulators

    async def send(
        self, payload: Mapping[str, Any], destinations: Recipients | None = None, **options: Unpack[Options]
    ) -> Result:
        """Push a payload in Apple's schema."""
        return await self._send({"payload": payload}, destinations, options)

    async def send_notification(
        self,
        notification: Mapping[str, Any],
        recipients: Recipients | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Push a notification: {"title", "subtitle", "body", "badge", "sound", "category", "url", "image_url", …}."""
        return await self._send({"notification": notification}, recipients, options)

    async def send_all(self, notification: Mapping[str, Any], **options: Unpack[Options]) -> Result:
        """Push a notification to everybody who has the app. The token needs the broadcast right."""
        return await self._send({"notification": notification}, EVERYBODY, options)

    async def open(
        self,
        what: str | Record,
        notification: Mapping[str, Any],
        recipients: Recipients | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Push a notification that opens the list of a data class, or a record.

        With a record the app synchronises its data too, unless the notification says otherwise.
        """
        opened = what._asdict() if isinstance(what, Record) else {"data_class": what}
        return await self._send({"notification": {**notification, "open": opened}}, recipients, options)

    async def validate(
        self,
        content: Mapping[str, Any],
        recipients: Recipients | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """What a send of {"notification": …} or {"payload": …} would come to; nothing is sent.

        `answer` tells the payload as it would be sent, its size, and how many copies it would go to.
        """
        return await self._send(content, recipients, options, path="validate/")

    async def push(self, push_id: str) -> dict[str, Any]:
        """State and counts of a push. Raises ClientError."""
        found: dict[str, Any] = await self.call("GET", f"pushes/{push_id}/")
        return found

    async def watch(self, push_id: str, pause: float = 0.5) -> AsyncIterator[dict[str, Any]]:
        """State and counts every `pause` seconds, until the push has ended. Raises ClientError."""
        while not _has_ended(found := await self.push(push_id)):
            yield found
            await asyncio.sleep(pause)
        yield found

    async def cancel(self, push_id: str) -> dict[str, Any]:
        """Stop what has not been sent; the push as it is then. Raises ClientError."""
        found: dict[str, Any] = await self.call("DELETE", f"pushes/{push_id}/")
        return found

    async def _send(
        self,
        content: Mapping[str, Any],
        recipients: Recipients | None,
        options: Options,
        path: str = "send/",
    ) -> Result:
        key = options.pop("idempotency_key", None) or str(uuid4())
        headers = {"Idempotency-Key": _quoted(key)} if path == "send/" else {}
        wait = options.pop("wait", 0)
        if wait:
            headers["Prefer"] = f"wait={wait}"
        to = _sorted(self._recipients if recipients is None else recipients)
        if to.errors:
            return Result(False, errors=to.errors, idempotency_key=key)
        result = Result(False)
        if to.destinations:
            body = {"app_id": self._app_id, **content, "destinations": to.destinations, **options}
            try:
                answer = await self.call("POST", path, body, headers=headers, wait=wait)
            except ClientError as error:
                result = Result(False, errors=error.errors)
            else:
                try:
                    result = _result(answer)
                except (LookupError, TypeError):
                    result = Result(False, errors=(self._no_relay("2xx"),))
        if to.simulators and path == "send/":
            result = _both(result, await self._to_simulators(to.simulators, content))
        return replace(result, idempotency_key=key)

    async def _to_simulators(self, simulators: Sequence[str], content: Mapping[str, Any]) -> Result:
        if self._simulators is None:
            detail = "The way to simulators is missing: PushSender(…, simulators=Simulators(bundle_id))."
            return Result(False, errors=(Problem("no_simulators", "/destinations", detail),))
        return await self._simulators.push(simulators, content)


def _blocking(
    method: Callable[Concatenate[PushSender, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingPushSender, P], T]:
    @functools.wraps(method)
    def call(self: BlockingPushSender, /, *arguments: P.args, **more: P.kwargs) -> T:
        return self.do(method(self.sender, *arguments, **more))

    return call


class BlockingPushSender:
    """PushSender for programs without asyncio: its arguments, its methods. Threads may share one.

    A context manager. `sender` works in a thread of its own.
    """

    def __init__(self, token: str, app_id: str, url: str = "http://127.0.0.1:8080", **more: Any) -> None:
        self.sender = PushSender(token, app_id, url, **more)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="push sender", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    send = _blocking(PushSender.send)
    send_notification = _blocking(PushSender.send_notification)
    send_all = _blocking(PushSender.send_all)
    open = _blocking(PushSender.open)
    validate = _blocking(PushSender.validate)
    push = _blocking(PushSender.push)
    cancel = _blocking(PushSender.cancel)
    call = _blocking(PushSender.call)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is a coroutine of `sender`."""
        doing = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return doing.result()
        finally:
            doing.cancel()  # Ctrl-C ends the request too

    def close(self) -> None:
        """Close the connections and end the thread. What other threads wait for is cancelled."""
        if not self._loop.is_closed():
            self.do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.sender.close()


class _Sorted(NamedTuple):
    destinations: str | list[str] | dict[str, Sequence[str]]
    simulators: list[str]
    errors: tuple[Problem, ...] = ()


def _sorted(recipients: Recipients) -> _Sorted:
    """Recipients by the way that leads to them: `destinations` of a request, and simulators."""
    if recipients == EVERYBODY:
        return _Sorted(EVERYBODY, [])
    if isinstance(recipients, str):
        recipients = [recipients]
    elif isinstance(recipients, Mapping) and recipients and recipients.keys() <= _KINDS:
        lists = [[some] if isinstance(some, str) else some for some in recipients.values()]
        recipients = [one for several in lists for one in several]
    errors = [
        Problem(
            "device_token", f"/destinations/{index}", "The relay finds device tokens itself: name customers."
        )
        for index, one in enumerate(recipients)
        if _DEVICE_TOKEN.fullmatch(one)
    ]
    if not recipients:
        errors = [Problem("no_recipients", "/destinations", "There are no recipients.")]
    simulators = [one for one in recipients if _SIMULATOR.fullmatch(one)]
    if isinstance(recipients, Mapping):
        others = {one: devices for one, devices in recipients.items() if not _SIMULATOR.fullmatch(one)}
        return _Sorted(others, simulators, tuple(errors))
    return _Sorted([one for one in recipients if not _SIMULATOR.fullmatch(one)], simulators, tuple(errors))


def _has_ended(push: Mapping[str, Any]) -> bool:
    """Whether no outcome of a push is open. What is under way when it is cancelled still comes to its own end."""
    state, pending = push["state"], push["counts"].get("pending")
    return bool(state == "done" or (state == "cancelled" and not pending))


def _problem(told: Mapping[str, Any]) -> Problem:
    """A problem as the relay tells it. A newer relay may say more of it."""
    return Problem(told["code"], told["pointer"], told["detail"])


def _result(answer: Mapping[str, Any]) -> Result:
    """What the relay's answer to a send says; with an outcome in it, whether anything was delivered."""
    warnings, errors = ([_problem(problem) for problem in answer[kind]] for kind in ("warnings", "errors"))
    success = bool(answer["success"])
    push = answer.get("push")
    if answer["targets"] == 0:
        success = False
        detail = "No recipient has a device that can be reached."
        if answer["skipped"]:
            detail = f"None of the {answer['skipped']} copies is on a listed test device."
        errors.append(Problem("no_recipients", "/destinations", detail))
    elif push is not None and _has_ended(push):
        success = push["counts"]["delivered"] > 0
        reasons = [Problem("not_delivered", "", f"{count} × {why}") for why, count in push["reasons"].items()]
        (warnings if success else errors).extend(reasons)
    return Result(success, tuple(warnings), tuple(errors), answer.get("push_id"), answer=answer)


def _both(relay: Result, simulators: Result) -> Result:
    return replace(
        relay,
        success=relay.success or simulators.success,
        warnings=relay.warnings + simulators.warnings,
        errors=relay.errors + simulators.errors,
    )


def _quoted(key: str) -> str:
    """A string of structured fields (RFC 8941, 3.3.3)."""
    if not (key.isascii() and key.isprintable()):
        raise ValueError("An idempotency key is printable ASCII.")
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
