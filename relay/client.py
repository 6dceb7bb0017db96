"""A client for publishers' programs. This file needs only aiohttp, so it may be copied as it is.

    async with PushSender("push_…", "myapp", url="https://push.example.com") as sender:
        result = await sender.send_notification({"title": "Good morning"}, "anna@example.com")
        print(result.success, result.warnings, result.errors, result.push_id)

`BlockingPushSender` has the same methods for programs without asyncio.

A send returns a `Result`, also when the relay refuses it: see its `errors`. All other methods raise ClientError. Each
send carries an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header). While the relay is away or overloaded the
send is repeated under that key, so the push is sent once.
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
"""The recipients of a push, in one of these forms:

- one customer `c_…`, e-mail address or simulator (its UDID, or "booted"); "all" for every customer of the app
- a list of these, in any mixture
- the map of the API: {"c_…": [], "c_…": ["d_…"], "anna@example.com": []}
- the map of 4D: {"mails": […], "simulators": […]}, and "customers"
"""
EVERYBODY = "all"
_SIMULATOR = re.compile(r"booted|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_DEVICE_TOKEN = re.compile(r"(?:[0-9A-Fa-f]{2}){32,100}")
_RECIPIENT_KINDS = frozenset({"mails", "customers", "simulators", "deviceTokens"})
_RETRYABLE_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Statuses after which a request is repeated if that is safe. 409: the first request is still being processed."""
_PERMANENT_ERRORS = (aiohttp.InvalidURL, aiohttp.ClientSSLError)
"""Errors that a repetition cannot resolve: a wrong address, an untrusted certificate."""
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0


class Problem(NamedTuple):
    """A warning or an error: a stable code, the JSON pointer of the field ("" for the request), and a sentence."""

    code: str
    pointer: str
    detail: str


class ClientError(Exception):
    """A refusal by the relay, or an answer that never came.

    `errors` holds the problems, `status` the HTTP status or 0 without an answer, and `detail` the summary that the
    relay gave, if any.
    """

    def __init__(self, errors: Sequence[Problem], status: int = 0, detail: str = "") -> None:
        super().__init__("; ".join(f"{error.pointer} {error.detail}".lstrip() for error in errors))
        self.errors = tuple(errors)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a send.

    `success`: the push goes to at least one copy of the app, or went to a simulator. `answer` is the relay's answer;
    with the option `wait`, `answer["push"]` holds the outcome if it came in time. Repeating the send under
    `idempotency_key` later does not send it twice.
    """

    success: bool
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()
    push_id: str | None = None
    idempotency_key: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def raise_for_errors(self) -> Self:
        """Return the result itself.

        Raises:
            ClientError: it has errors.
        """
        if self.errors:
            raise ClientError(self.errors)
        return self


class Record(NamedTuple):
    """A record for the app to open."""

    data_class: str
    primary_key: str | int


class Options(TypedDict, total=False):
    """Optional fields of a send: those of `POST /v1.0/send/`, and two that become headers.

    `wait`: seconds to wait for the outcome, at most 60. `idempotency_key`: printable ASCII, otherwise ValueError is
    raised.
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
    """A sender to iOS simulators, such as `relay.cli.simulator.Simulators`."""

    async def push(self, simulators: Sequence[str], content: Mapping[str, Any]) -> Result:
        """Push `content`, {"payload": …} or {"notification": …} as in a send, to `simulators`."""


class RelayClient:
    """The API of the relay at `url` under one token, in plain values. An async context manager.

    `timeout`: seconds for one attempt. `connect_timeout`: those of its connection to the relay, if fewer. `patience`:
    seconds after which no further attempt begins. `ssl`: for a relay whose certificate was issued by a private CA.
    `session`: a session of the caller, which stays open.
    `follow_redirects`: by default a redirect is an error, so that no other server sees a request.
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
        follow_redirects: bool = False,
        connect_timeout: float | None = None,
    ) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self._url = url.rstrip("/")
        self._patience = patience
        self._timeout = timeout
        self._ssl = ssl
        self._session = session
        self._owns_session = session is None
        self._chance = chance
        self._follow_redirects = follow_redirects
        self._connect_timeout = connect_timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, unless the caller passed it."""
        if self._owns_session and self._session is not None:
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
        """Send a request to `/v1.0/<path>` and return the answer in plain values, None without a body.

        A POST without an Idempotency-Key is repeated only after 429: the relay has not begun it then. Each attempt may
        take `wait` seconds longer.

        Raises:
            ClientError: the relay refused the request or could not be reached.
        """
        headers = {**self._headers, **(headers or {})}
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience + wait
        longest_pause = _FIRST_PAUSE_SECONDS
        while True:
            retry_after = 0.0
            try:
                status, retry_after, text = await self._request_once(
                    method, path, body, headers, self._timeout + wait
                )
                if status < 300:
                    return self._decode(status, text)
                failure = self._refusal(status, text)
                may_succeed_later = status in _RETRYABLE_STATUSES
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                detail = f"The relay at {self._url} cannot be reached: {type(error).__name__}."
                failure = ClientError([Problem("unreachable", "", detail)])
                may_succeed_later = not isinstance(error, _PERMANENT_ERRORS)
            is_safe = method != "POST" or "Idempotency-Key" in headers or failure.status == 429
            # The pause is random, so that clients refused at one moment do not return at one moment.
            pause = retry_after + longest_pause * (0.5 + self._chance() / 2)
            if not (may_succeed_later and is_safe) or clock() + pause > deadline:
                raise failure
            await asyncio.sleep(pause)
            longest_pause = min(_LONGEST_PAUSE_SECONDS, 2 * longest_pause)

    async def every(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield all items of a list, page by page. Raises ClientError."""
        first_page = f"{path}{'&' if '?' in path else '?'}limit=1000"
        page = await self.call("GET", first_page)
        while True:
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            page = await self.call("GET", f"{first_page}&cursor={quote(page['next'], safe='')}")

    async def _request_once(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout: float
    ) -> tuple[int, float, bytes]:
        """Make one attempt. Returns the status, the seconds of Retry-After, and the body."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        async with self._session.request(
            method,
            f"{self._url}/v1.0/{path}",
            json=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=self._connect_timeout),
            ssl=self._ssl or True,
            allow_redirects=self._follow_redirects,
        ) as response:
            seconds = response.headers.get("Retry-After", "")
            retry_after = float(seconds) if re.fullmatch("[0-9]{1,9}", seconds) else 0.0
            return response.status, retry_after, await response.read()

    def _decode(self, status: int, text: bytes) -> Any:
        try:
            return json.loads(text) if text else None
        except ValueError:
            raise ClientError([self._not_a_relay(status)], status) from None

    def _refusal(self, status: int, text: bytes) -> ClientError:
        try:
            document = json.loads(text)
            detail = document["detail"] if isinstance(document.get("detail"), str) else ""
        except (ValueError, LookupError, TypeError, AttributeError):
            return ClientError([self._not_a_relay(status)], status)
        try:
            problems = [_problem(error) for error in document["errors"]]
        except (LookupError, TypeError):
            problems = [self._not_a_relay(status)]
        return ClientError(problems, status, detail)

    def _not_a_relay(self, status: int | str) -> Problem:
        return Problem("not_a_relay", "", f"{self._url} answers {status}, and not as a relay does.")


class PushSender(RelayClient):
    """A sender of pushes to the copies of one app.

    `recipients`: the recipients of sends that name none. `simulators`: the sender to iOS simulators. `connection`:
    further arguments of RelayClient.
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
        """Send a payload in Apple's schema."""
        return await self._send({"payload": payload}, destinations, options)

    async def send_notification(
        self,
        notification: Mapping[str, Any],
        recipients: Recipients | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Send a notification: {"title", "subtitle", "body", "badge", "sound", "category", "url", "image_url", …}."""
        return await self._send({"notification": notification}, recipients, options)

    async def send_all(self, notification: Mapping[str, Any], **options: Unpack[Options]) -> Result:
        """Send a notification to every copy of the app. The token needs the broadcast right."""
        return await self._send({"notification": notification}, EVERYBODY, options)

    async def open(
        self,
        what: str | Record,  # callers pass it by this keyword: the name is public
        notification: Mapping[str, Any],
        recipients: Recipients | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Send a notification that opens `what`: a record, or the list of the data class with that name.

        With a record the app also synchronises its data, unless the notification says otherwise.
        """
        destination = what._asdict() if isinstance(what, Record) else {"data_class": what}
        return await self._send({"notification": {**notification, "open": destination}}, recipients, options)

    async def validate(
        self,
        content: Mapping[str, Any],
        recipients: Recipients | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Check a send of {"notification": …} or {"payload": …} without sending it.

        `answer` of the result holds the payload as it would be sent, its size, and the number of copies.
        """
        return await self._send(content, recipients, options, path="validate/")

    async def push(self, push_id: str) -> dict[str, Any]:
        """Return state and counts of a push. Raises ClientError."""
        push: dict[str, Any] = await self.call("GET", f"pushes/{push_id}/")
        return push

    async def watch(self, push_id: str, pause: float = 0.5) -> AsyncIterator[dict[str, Any]]:
        """Yield state and counts every `pause` seconds until the push has ended. Raises ClientError."""
        while not _has_ended(push := await self.push(push_id)):
            yield push
            await asyncio.sleep(pause)
        yield push

    async def cancel(self, push_id: str) -> dict[str, Any]:
        """Cancel what is not sent yet, and return the push as it is then. Raises ClientError."""
        push: dict[str, Any] = await self.call("DELETE", f"pushes/{push_id}/")
        return push

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
        ways = _split_recipients(self._recipients if recipients is None else recipients)
        if ways.errors:
            return Result(False, errors=ways.errors, idempotency_key=key)
        result = Result(False)
        if ways.destinations:
            body = {"app_id": self._app_id, **content, "destinations": ways.destinations, **options}
            try:
                answer = await self.call("POST", path, body, headers=headers, wait=wait)
            except ClientError as error:
                result = Result(False, errors=error.errors)
            else:
                try:
                    result = _read_result(answer)
                except (LookupError, TypeError):
                    result = Result(False, errors=(self._not_a_relay("2xx"),))
        if ways.simulators and path == "send/":
            result = _combine(result, await self._send_to_simulators(ways.simulators, content))
        return replace(result, idempotency_key=key)

    async def _send_to_simulators(self, simulators: Sequence[str], content: Mapping[str, Any]) -> Result:
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
    """A PushSender for programs without asyncio, with its arguments and methods. Threads may share one.

    A context manager. `sender` runs in a separate thread.
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
        """Run `work`, a coroutine of `sender`, and return its result."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # Ctrl-C ends the request too

    def close(self) -> None:
        """Close the connections and end the thread. Calls of other threads are cancelled."""
        if not self._loop.is_closed():
            self.do(self._cancel_calls_and_close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _cancel_calls_and_close(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self.sender.close()


class _RecipientWays(NamedTuple):
    """Recipients by the way that leads to them: `destinations` of a request, and simulators."""

    destinations: str | list[str] | dict[str, Sequence[str]]
    simulators: list[str]
    errors: tuple[Problem, ...] = ()


def _split_recipients(recipients: Recipients) -> _RecipientWays:
    if recipients == EVERYBODY:
        return _RecipientWays(EVERYBODY, [])
    if isinstance(recipients, str):
        recipients = [recipients]
    elif isinstance(recipients, Mapping) and recipients and recipients.keys() <= _RECIPIENT_KINDS:
        lists = [[names] if isinstance(names, str) else names for names in recipients.values()]
        recipients = [name for names in lists for name in names]
    errors = [
        Problem(
            "device_token", f"/destinations/{index}", "The relay finds device tokens itself: name customers."
        )
        for index, name in enumerate(recipients)
        if _DEVICE_TOKEN.fullmatch(name)
    ]
    if not recipients:
        errors = [Problem("no_recipients", "/destinations", "There are no recipients.")]
    simulators = [name for name in recipients if _SIMULATOR.fullmatch(name)]
    if isinstance(recipients, Mapping):
        customers = {name: devices for name, devices in recipients.items() if not _SIMULATOR.fullmatch(name)}
        return _RecipientWays(customers, simulators, tuple(errors))
    names = [name for name in recipients if not _SIMULATOR.fullmatch(name)]
    return _RecipientWays(names, simulators, tuple(errors))


def _has_ended(push: Mapping[str, Any]) -> bool:
    """Return whether all outcomes are known. Pushes on their way to Apple at a cancellation still get theirs."""
    state, pending = push["state"], push["counts"].get("pending")
    return bool(state == "done" or (state == "cancelled" and not pending))


def _problem(document: Mapping[str, Any]) -> Problem:
    """Read a problem of an answer. Unknown members are ignored: a newer relay may send some."""
    return Problem(document["code"], document["pointer"], document["detail"])


def _read_result(answer: Mapping[str, Any]) -> Result:
    """Read the answer to a send. If it holds the outcome, success means that a copy was reached."""
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
        reasons = [
            Problem("not_delivered", "", f"{count} × {reason}") for reason, count in push["reasons"].items()
        ]
        (warnings if success else errors).extend(reasons)
    return Result(success, tuple(warnings), tuple(errors), answer.get("push_id"), answer=answer)


def _combine(relay: Result, simulators: Result) -> Result:
    return replace(
        relay,
        success=relay.success or simulators.success,
        warnings=relay.warnings + simulators.warnings,
        errors=relay.errors + simulators.errors,
    )


def _quoted(key: str) -> str:
    """Return `key` as a string of structured fields (RFC 8941, 3.3.3)."""
    if not (key.isascii() and key.isprintable()):
        raise ValueError("An idempotency key is printable ASCII.")
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
