"""HTTP/2 client that can violate the protocol, and a rig around the stand-in."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

from apns_standin import ApnsStandIn

TEAM, OTHER_TEAM = "TEAM000001", "TEAM000002"
BUNDLE, OTHER_BUNDLE = "com.example.app", "org.example.other"
PAYLOAD = b'{"aps":{"alert":"hello"}}'


class Clock:
    """Real time, moved by `ahead` seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def verdict(self) -> tuple[int, str | None]:
        return self.status, self.document["reason"] if self.body else None


class Careless(H2Connection):
    """h2 without the server's limit of streams, which is also faster, because it does not count them.

    It accepts answers after GOAWAY: earlier requests are still answered.
    """

    @property
    def open_outbound_streams(self) -> int:
        return 0

    def _receive_goaway_frame(self, frame: Any) -> Any:
        received = super()._receive_goaway_frame(frame)
        self.state_machine.state = ConnectionState.CLIENT_OPEN
        return received


class RawClient:
    """A connection. Requests are sent unchanged; answers are collected by stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = Careless(
            H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.answers: dict[int, Answer] = {}
        self.goaway: ConnectionTerminated | None = None
        self.closed = asyncio.Event()
        self.settled = asyncio.Event()
        self.unsettled = 1
        self.task: asyncio.Task[None] | None = None
        self._last = 0

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        stand_in: ApnsStandIn,
        environment: str = "production",
        certificate: Path | None = None,
        settings: dict[SettingCodes, int] | None = None,
        alpn: bool = True,
        management: bool = False,
    ):
        context = ssl.create_default_context(cadata=stand_in.ca_pem)
        if alpn:
            context.set_alpn_protocols(["h2"])
        if certificate is not None:
            context.load_cert_chain(certificate)
        port = (stand_in.management if management else stand_in.listeners)[environment].port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        client = cls(reader, writer)
        client.h2.initiate_connection()
        if settings:
            client.h2.update_settings(settings)
            client.unsettled += 1
        client.flush()
        client.task = asyncio.create_task(client.read())
        try:
            async with asyncio.timeout(30):
                await client.settled.wait()
            if client.closed.is_set():
                raise ConnectionError("the server hung up")
            yield client
        finally:
            client.task.cancel()
            await asyncio.gather(client.task, return_exceptions=True)
            writer.transport.abort()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def read(self) -> None:
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.on_event(event)
                self.flush()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.closed.set()
            self.settled.set()

    def on_event(self, event: object) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goaway = event
        elif isinstance(event, SettingsAcknowledged):
            self.unsettled -= 1  # the server's own SETTINGS came before
            if not self.unsettled:
                self.settled.set()
        elif isinstance(event, ResponseReceived | DataReceived | StreamEnded | StreamReset):
            answer = self.answers[event.stream_id]
            if isinstance(event, ResponseReceived):
                answer.headers = dict(event.headers)
                answer.status = int(answer.headers.pop(":status"))
            elif isinstance(event, DataReceived):
                answer.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                if isinstance(event, StreamReset) and not answer.done.is_set():
                    answer.reset = event.error_code
                answer.done.set()

    def begin(self, headers: list[tuple[str, str]], end_stream: bool = False) -> int:
        self._last = self._last + 2 if self._last else 1
        self.answers[self._last] = Answer()
        self.h2.send_headers(self._last, headers, end_stream=end_stream)
        return self._last

    def send(self, headers: list[tuple[str, str]], *parts: bytes) -> int:
        stream_id = self.begin(headers, end_stream=not parts)
        for number, part in enumerate(parts, 1):
            self.h2.send_data(stream_id, part, end_stream=number == len(parts))
        self.flush()
        return stream_id

    async def answer(self, stream_id: int) -> Answer:
        async with asyncio.timeout(30):
            await self.answers[stream_id].done.wait()
        return self.answers[stream_id]

    async def push(self, headers: list[tuple[str, str]], *parts: bytes) -> Answer:
        return await self.answer(self.send(headers, *(parts or (PAYLOAD,))))


class Rig:
    """A stand-in with a team, a key and a device token, and the headers of a good push."""

    def __init__(self, stand_in: ApnsStandIn, clock: Clock) -> None:
        self.apns, self.clock = stand_in, clock
        self.key = stand_in.issue_key(TEAM)
        self.token = stand_in.issue_device_token(BUNDLE, TEAM, "production").token
        self.jwt = self.sign()

    def sign(
        self, key: Any = None, *, team: str | None = None, iat: Any = None, kid: str | None = None
    ) -> str:
        key = key or self.key
        claims = {"iss": team or key.team_id, "iat": int(self.clock()) if iat is None else iat}
        return jwt.encode(claims, key.p8, algorithm="ES256", headers={"kid": kid or key.key_id})

    def headers(
        self,
        *,
        token: str | None = None,
        method: str = "POST",
        path: str | None = None,
        bearer: str | None = None,
        extra: list[tuple[str, str]] | None = None,
        **changes: str | None,
    ) -> list[tuple[str, str]]:
        """Return the headers of a good push; `apns_topic="x"` changes a header, None removes it."""
        named: dict[str, str | None] = {
            "apns-topic": BUNDLE,
            "apns-push-type": "alert",
            "authorization": f"bearer {bearer or self.jwt}",
        }
        named |= {name.replace("_", "-"): value for name, value in changes.items()}
        pseudo = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path if path is not None else f"/3/device/{token or self.token}"),
        ]
        return pseudo + [(name, value) for name, value in named.items() if value is not None] + (extra or [])


@asynccontextmanager
async def running(**arguments: Any):
    clock = arguments.setdefault("clock", Clock())
    async with ApnsStandIn(**arguments) as stand_in:
        yield Rig(stand_in, clock)
