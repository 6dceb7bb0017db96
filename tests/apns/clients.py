"""Clients of the tests with one `push` method: over the relay's sender, or over stock aioapns."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.apns.connection import Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender, SenderLimits
from relay.core.accounts import Environment
from relay.core.delivery.sending import Answer, Fate, SendBatch
from relay.core.push.apns_headers import PushHeaders
from tests.apns.scripted_server import ScriptedServer
from tests.factories import make_credential, make_send_batch

TOPIC = "com.example.app"
PAYLOAD = b'{"aps":{"alert":"hi"}}'


def new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def new_id() -> str:
    return str(uuid.uuid4())


class Outcome(NamedTuple):
    """Outcome of a push. `fate` is answered, not_sent or unknown; for stock aioapns also raised."""

    fate: str
    status: int
    reason: str


OK = Outcome("answered", 200, "")


def outcomes(batch: SendBatch) -> list[Outcome]:
    assert None not in batch.answers
    answers = [answer for answer in batch.answers if isinstance(answer, Answer)]
    return [Outcome(answer.fate.value, answer.status, answer.reason) for answer in answers]


FAST = Timing(connect=10, response=20, quiet=5, pong=5, drain=0.5, tick=0.05)


@dataclass
class Ours:
    """A client over `ApnsSender`."""

    server: ScriptedServer
    key: str
    timing: Timing = FAST
    max_connections: int = 1
    patience: float = 10  # without effect: nothing is closed for a slow answer before `timing.response`
    sender: ApnsSender = field(init=False)

    def __post_init__(self) -> None:
        endpoint = Endpoint("localhost", self.server.port, self.server.tls.ca_file)
        self.sender = ApnsSender(
            dict.fromkeys(Environment, endpoint),
            limits=SenderLimits(connections_per_credential=self.max_connections),
            timing=self.timing,
        )

    async def push(
        self, count: int = 1, ids: Sequence[str] = (), payload: bytes = PAYLOAD, **headers: Any
    ) -> list[Outcome]:
        values = PushHeaders(**({"push_type": "alert", "priority": 10} | headers))
        batch = make_send_batch(size=count, payload=payload, headers=values, apns_ids=ids)
        await self.sender.send(make_credential(secret=self.key), [batch])
        return outcomes(batch)

    async def aclose(self) -> None:
        await self.sender.aclose()


@dataclass
class Stock:
    """A client over stock aioapns. `patience` is its inactivity time in seconds; aioapns has 10."""

    server: ScriptedServer
    key: str
    timing: Timing = FAST
    max_connections: int = 1
    patience: float = 10

    def __post_init__(self) -> None:
        from aioapns.connection import APNsKeyConnectionPool, APNsTLSClientProtocol

        class Protocol(APNsTLSClientProtocol):
            APNS_SERVER = "localhost"
            APNS_PORT = self.server.port
            INACTIVITY_TIME = self.patience  # type: ignore[assignment]

        context = ssl.create_default_context(cafile=self.server.tls.ca_file)
        self.pool = APNsKeyConnectionPool(
            self.key,
            "KEY0000000",
            "TEAM000000",
            TOPIC,
            max_connections=self.max_connections,
            ssl_context=context,
        )
        self.pool.protocol_class = Protocol

    async def push(
        self, count: int = 1, ids: Sequence[str] = (), payload: bytes = PAYLOAD, **headers: Any
    ) -> list[Outcome]:
        from aioapns.common import PushType

        values = {"priority": 10, "push_type": "alert"} | headers
        push_type = PushType(values["push_type"])
        tasks = [self._one(ids[at] if ids else new_id(), payload, push_type, values) for at in range(count)]
        return list(await asyncio.gather(*tasks))

    async def _one(self, apns_id: str, payload: bytes, push_type: Any, values: dict[str, Any]) -> Outcome:
        from aioapns.common import NotificationRequest

        request = NotificationRequest(
            secrets.token_hex(32),
            json.loads(payload),
            apns_id,
            time_to_live=values.get("expiration"),
            priority=values["priority"],
            push_type=push_type,
        )
        try:
            result = await self.pool.send_notification(request)
        except Exception as error:
            return Outcome("raised", 0, type(error).__name__)
        return Outcome(Fate.ANSWERED.value, int(result.status), result.description or "")

    async def aclose(self) -> None:
        self.pool.close()


Client = Ours | Stock
