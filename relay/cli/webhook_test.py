"""`push-relay webhook-test`: a test of webhooks with a receiver in this process.

It creates a webhook that leads to the receiver, lets the relay send a test message, checks the signature, and removes
the webhook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from aiohttp import web

from relay.cli.operator_client import OperatorClient
from relay.core.clock import Clock
from relay.core.webhooks.messages import EventType
from relay.core.webhooks.signatures import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SignatureRefused,
    verify_message,
)

_MAX_BODY_BYTES = 256 * 1024


class ReceivedMessage(NamedTuple):
    """A message as received."""

    at: datetime
    headers: dict[str, str]
    body: bytes


class WebhookTestResult(NamedTuple):
    """The result of a test. `arrived`: the message, if one arrived. `refused`: why its signature is wrong, or ""."""

    url: str
    answer: dict[str, Any]
    arrived: ReceivedMessage | None
    refused: str

    @property
    def is_good(self) -> bool:
        """Whether a genuine message arrived."""
        return self.arrived is not None and not self.refused

    def print(self, line: Callable[[str], None]) -> None:
        """Print the result with `line`."""
        line(f"A webhook was made that leads to {self.url}, and a test message sent to it.")
        if self.arrived is None:
            reason = self.answer["error"] or f"something else answered {self.answer['status']}"
            line(f"Nothing arrived here: {reason}")
        else:
            line("This arrived:\n")
            for name, value in self.arrived.headers.items():
                line(f"  {name}: {value}")
            line(f"\n  {self.arrived.body.decode(errors='replace')}\n")
            line(f"The signature is wrong: {self.refused}" if self.refused else "The signature is right.")
        line("The webhook was removed.")

    def as_json(self) -> dict[str, Any]:
        """Return the result in plain values."""
        message = self.arrived
        return {
            "url": self.url,
            "answer": self.answer,
            "arrived_at": message and message.at.isoformat(),
            "headers": message and message.headers,
            "body": message and message.body.decode(errors="replace"),
            "signature": None if message is None else (self.refused or "right"),
        }


class Receiver:
    """A receiver of messages at `host` and `port` (0: a free port). An async context manager."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._host, self._port = host, port
        self._clock = clock
        self._messages: asyncio.Queue[ReceivedMessage] = asyncio.Queue()
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_post("/", self._receive)
        self._runner = web.AppRunner(application, access_log=None)

    async def __aenter__(self) -> Receiver:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The URL of the receiver."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def next_message(self) -> ReceivedMessage | None:
        """Return the next message, or None if none was received."""
        return None if self._messages.empty() else self._messages.get_nowait()

    async def _receive(self, request: web.Request) -> web.Response:
        headers = {
            name: request.headers[name]
            for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
            if name in request.headers
        }
        self._messages.put_nowait(ReceivedMessage(self._clock.now(), headers, await request.read()))
        return web.Response(status=204)


async def run_webhook_test(
    client: OperatorClient, app_id: str, receiver: Receiver, public_url: str | None, clock: Clock
) -> WebhookTestResult:
    """Create a webhook that leads to `receiver`, by `public_url` if given; test it; remove it.

    Raises:
        OperatorError: the relay refused one of these requests.
    """
    url = public_url or receiver.url
    webhooks = f"apps/{quote(app_id, safe='')}/webhooks/"
    events = list(map(str, EventType))
    webhook = await client.call("POST", webhooks, {"url": url, "events": events})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.call, "DELETE", f"{webhooks}{webhook['id']}/")
        answer = await client.call("POST", f"{webhooks}{webhook['id']}/test/")
        arrived = receiver.next_message()
        return WebhookTestResult(url, answer, arrived, _refusal(webhook["secret"], answer, arrived, clock))


def _refusal(secret: str, answer: dict[str, Any], arrived: ReceivedMessage | None, clock: Clock) -> str:
    if arrived is None:
        return ""
    try:
        verify_message(secret, arrived.headers, arrived.body, clock.now())
    except SignatureRefused as error:
        return str(error)
    if arrived.headers[ID_HEADER] != answer["message_id"]:
        return "The message is not the one that was sent."
    return ""
