"""How the command line talks to a running relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec


class Refusal(NamedTuple):
    """One fault that the relay found: its code, JSON pointer and sentence."""

    code: str
    pointer: str
    detail: str


class AdminError(Exception):
    """The relay refused or could not be reached. The text is for the person at the terminal."""

    def __init__(self, text: str, status: int = 0, refusals: tuple[Refusal, ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.refusals = refusals


class AdminClient:
    """A session with the relay at `url` under one API token. An async context manager."""

    def __init__(self, url: str, token: str, pause: float = 0.5) -> None:
        self._url = url.rstrip("/")
        self._pause = pause
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, *, attempts: int = 1) -> Any:
        """The answer of `/v1.0/<path>` as plain values, None without a body. Raises AdminError.

        With more `attempts` it is sent again, after growing pauses, when the relay was away or could not take
        it.
        """
        for attempt in range(attempts - 1):
            try:
                return await self._once(method, path, body)
            except AdminError as error:
                if error.status not in (0, 503):
                    raise
                await asyncio.sleep(self._pause * 2**attempt)
        return await self._once(method, path, body)

    async def _once(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, f"{self._url}/v1.0/{path}", data=data, headers=headers
            ) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AdminError(f"The relay at {self._url} cannot be reached: {type(error).__name__}.") from None
        if response.status >= 400:
            raise _error(response.status, text)
        try:
            return msgspec.json.decode(text) if text else None
        except msgspec.DecodeError:
            raise AdminError(f"{self._url} does not answer like a relay.", response.status) from None

    async def every(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """All items of a list, page after page."""
        cursor = ""
        while True:
            page = await self.call("GET", f"{path}?limit=1000{cursor}")
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            cursor = f"&cursor={page['next']}"


class _OperatorProblem(msgspec.Struct):
    detail: str
    errors: list[dict[str, str]] = []


def _error(status: int, text: bytes) -> AdminError:
    try:
        problem = msgspec.json.decode(text, type=_OperatorProblem)
        refusals = tuple(Refusal(e["code"], e["pointer"], e["detail"]) for e in problem.errors)
    except (msgspec.DecodeError, KeyError):
        return AdminError(f"The relay answered {status}.", status)
    lines = [problem.detail]
    lines += [f"  {fault.pointer or '(request)'}: {fault.detail}" for fault in refusals]
    return AdminError("\n".join(lines) if any(f.pointer for f in refusals) else lines[0], status, refusals)
