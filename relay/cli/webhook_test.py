"""`push-relay webhook-test`: a receiver of its own, to see a message arrive and its signature checked.

It makes a webhook that leads to itself, lets the relay send a test message to it, and removes it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from aiohttp import web

from relay.cli.operator_client import AdminClient
from relay.core.clock import Clock
from relay.core.webhooks.messages import EventType
from relay.core.webhooks.signatures import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignatureRefused,
    verify_message,
)

_MAX_BODY = 256 * 1024


class Arrived(NamedTuple):
    """A message as it came."""

    at: datetime
    headers: dict[str, str]
    body: bytes


class Shown(NamedTuple):
    """What is to be seen of a test. `refused` is why the signature is wrong, or ""; `arrived` None: nothing came."""

    url: str
    answer: dict[str, Any]
    arrived: Arrived | None
    refused: str

    @property
    def is_good(self) -> bool:
        """Whether a message arrived, and is genuine."""
        return self.arrived is not None and not self.refused

    def print(self, line: Callable[[str], None]) -> None:
        """Tell a person, line by line."""
        line(f"A webhook was made that leads to {self.url}, and a test message sent to it.")
        if self.arrived is None:
            why = self.answer["error"] or f"something else answered {self.answer['status']}"
            line(f"Nothing arrived here: {why}")
        else:
            line("This arrived:\n")
            for name, value in self.arrived.headers.items():
                line(f"  {name}: {value}")
            line(f"\n  {self.arrived.body.decode(errors='replace')}\n")
            line(f"The signature is wrong: {self.refused}" if self.refused else "The signature is right.")
        line("The webhook was removed.")

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        came = self.arrived
        return {
            "url": self.url,
            "answer": self.answer,
            "arrived_at": came and came.at.isoformat(),
            "headers": came and came.headers,
            "body": came and came.body.decode(errors="replace"),
            "signature": None if came is None else (self.refused or "right"),
        }


class Receiver:
    """Listens at `host` and `port` (0: a free one), and keeps what comes. An async context manager."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._host, self._port = host, port
        self._clock = clock
        self._came: asyncio.Queue[Arrived] = asyncio.Queue()
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_post("/", self._take)
        self._runner = web.AppRunner(application, access_log=None)

    async def __aenter__(self) -> Receiver:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def came(self) -> Arrived | None:
        """The first message that came, if any did."""
        return None if self._came.empty() else self._came.get_nowait()

    async def _take(self, request: web.Request) -> web.Response:
        headers = {
            name: request.headers[name]
            for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
            if name in request.headers
        }
        self._came.put_nowait(Arrived(self._clock.now(), headers, await request.read()))
        return web.Response(status=204)


async def see_one_arrive(
    client: AdminClient, app_id: str, receiver: Receiver, public_url: str | None, clock: Clock
) -> Shown:
    """Make a webhook that leads to `receiver` (by `public_url`, if that is another way to it), test it, remove it.

    Raises AdminError if the relay refuses any of it.
    """
    url = public_url or receiver.url
    webhooks = f"apps/{quote(app_id, safe='')}/webhooks/"
    events = list(map(str, EventType))
    made = await client.call("POST", webhooks, {"url": url, "events": events})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.call, "DELETE", f"{webhooks}{made['id']}/")
        answer = await client.call("POST", f"{webhooks}{made['id']}/test/")
        arrived = receiver.came()
        return Shown(url, answer, arrived, _refusal(made["secret"], answer, arrived, clock))


def _refusal(secret: str, answer: dict[str, Any], arrived: Arrived | None, clock: Clock) -> str:
    if arrived is None:
        return ""
    try:
        verify_message(secret, arrived.headers, arrived.body, clock.now())
    except SignatureRefused as error:
        return str(error)
    if arrived.headers[ID_HEADER] != answer["message_id"]:
        return "The message is not the one that was sent."
    return ""
