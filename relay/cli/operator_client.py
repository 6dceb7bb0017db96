"""The client of commands that send requests to a running relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from relay.client import ClientError, Problem, RelayClient

_TIMEOUT_SECONDS = 300.0
_CONNECT_TIMEOUT_SECONDS = 30.0
_RETRYABLE_STATUSES = (0, 503)
"""Without an answer, and while the relay cannot take the request."""


class OperatorError(Exception):
    """A failure that ends a command. Its text is for the operator.

    `status` is the HTTP status, 0 without an answer. `problems` are the faults that the relay found in the request.
    """

    def __init__(self, text: str, status: int = 0, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.problems = problems


class OperatorClient:
    """The API of the relay at `url` under one token, with errors for the terminal. An async context manager."""

    def __init__(self, url: str, token: str, pause: float = 0.5) -> None:
        self._url = url.rstrip("/")
        self._pause = pause
        self._session = aiohttp.ClientSession(json_serialize=_encode)
        # With no patience the client makes one attempt: a command reports a failure at once. A proxy before the relay
        # may redirect to another path of its own; aiohttp sends the token to no other origin.
        self._client = RelayClient(
            token,
            url,
            patience=0,
            timeout=_TIMEOUT_SECONDS,
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            session=self._session,
            follow_redirects=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, *, attempts: int = 1) -> Any:
        """Send a request to `/v1.0/<path>` and return the answer in plain values, None without a body.

        With more `attempts`, repeat it after growing pauses while the relay is away or cannot take it.

        Raises:
            OperatorError: the relay refused the request or could not be reached.
        """
        for attempt in range(attempts - 1):
            try:
                return await self._call_once(method, path, body)
            except OperatorError as error:
                if error.status not in _RETRYABLE_STATUSES:
                    raise
                await asyncio.sleep(self._pause * 2**attempt)
        return await self._call_once(method, path, body)

    async def list_items(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield all items of a list, page by page. Raises OperatorError."""
        try:
            async for item in self._client.every(path):
                yield item
        except ClientError as error:
            raise self._explain(error) from None

    async def _call_once(self, method: str, path: str, body: Any) -> Any:
        try:
            return await self._client.call(method, path, body)
        except ClientError as error:
            raise self._explain(error) from None

    def _explain(self, error: ClientError) -> OperatorError:
        """Return `error` with a text for the terminal: the relay's summary, then a line for each faulty field."""
        if error.detail:
            problems = tuple(problem for problem in error.errors if problem.code != "not_a_relay")
            lines = [error.detail]
            if any(problem.pointer for problem in problems):
                lines += [f"  {problem.pointer or '(request)'}: {problem.detail}" for problem in problems]
            return OperatorError("\n".join(lines), error.status, problems)
        if error.status >= 400:
            return OperatorError(f"The relay answered {error.status}.", error.status)
        if error.status:
            return OperatorError(f"{self._url} does not answer like a relay.", error.status)
        return OperatorError(str(error))


def _encode(body: Any) -> str:
    return msgspec.json.encode(body).decode()
