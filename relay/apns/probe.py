"""Probe of APNs over a connection of its own: facts about the connection, and Apple's answer to a credential.

It reaches no device: the only push, of `Probe.push_to_no_device`, goes to a device token of zeros, which Apple never
issues. The reason in the answer shows if Apple accepts the credential.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import UUID

from relay.apns.connection import ApnsConnection, Submission, Timing
from relay.apns.errors import connect_errors, credential_errors
from relay.apns.pool import Endpoint, certificate_file, check_http2, protocol_class, tls_context
from relay.apns.provider_token import ProviderToken
from relay.apns.timer_wheel import TimerWheel
from relay.core.accounts import CredentialKind
from relay.core.delivery.sending import Answer, Credential, SendBatch
from relay.core.push.apns_headers import PushHeaders

NO_DEVICE: Final = "0" * 64
"""A device token that belongs to no device."""
_PAYLOAD: Final = b'{"aps":{"content-available":1}}'
_HEADERS: Final = PushHeaders("background", 5, expiration=0)


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """Facts about a connection: its TLS, the names in the server's certificate, and its SETTINGS.

    `streams`: concurrent streams in the SETTINGS; None if they name no number. `milliseconds`: duration from the name
    look-up to the SETTINGS.
    """

    address: str
    tls: str
    alpn: str
    subject: str
    issuer: str
    certificate_ends: datetime
    streams: int | None
    milliseconds: int


class Probe:
    """An open connection to APNs, created by `probe`."""

    def __init__(
        self, connection: ApnsConnection, facts: ConnectionFacts, provider: ProviderToken | None
    ) -> None:
        self._connection = connection
        self._provider = provider
        self.facts = facts

    async def push_to_no_device(self, topic: str, apns_id: UUID) -> Answer:
        """Send a background push with that topic to `NO_DEVICE` and return Apple's answer.

        Raises CannotSendError if the credential is unusable.
        """
        batch = SendBatch(_PAYLOAD, _HEADERS, [NO_DEVICE], [str(apns_id)], [topic])
        authorization = "" if self._provider is None else self._provider.get_header()
        answered = asyncio.Event()
        submission = Submission([batch], answered.set)
        submission.start([(self._connection, [batch])], authorization)
        await answered.wait()
        [answer] = batch.answers
        assert answer is not None  # the event says so
        return answer


def signed_provider_token(credential: Credential, clock: Callable[[], float]) -> ProviderToken:
    """Return the provider token of a .p8 key, with a JWT signed. `clock` returns epoch seconds.

    Raises CannotSendError.
    """
    provider = ProviderToken(credential.secret, credential.key_id, credential.team_id, clock)
    provider.get_header()
    return provider


@asynccontextmanager
async def probe(
    endpoint: Endpoint, credential: Credential | None, *, timing: Timing, clock: Callable[[], float]
) -> AsyncIterator[Probe]:
    """Open a connection to `endpoint`, authenticated if `credential` is given. Raises CannotSendError."""
    loop = asyncio.get_running_loop()
    with connect_errors():  # the file of authorities may be missing
        context = tls_context(endpoint.ca_file)
    provider = None
    if credential is not None and credential.kind == CredentialKind.CERTIFICATE:
        with certificate_file(credential) as path, credential_errors():
            context.load_cert_chain(path)
    elif credential is not None:
        provider = signed_provider_token(credential, clock)
    new_connection = protocol_class(endpoint, timing, TimerWheel(loop, timing.tick))
    connection: ApnsConnection | None = None
    started = time.perf_counter()
    try:
        with connect_errors():
            async with asyncio.timeout(timing.connect):
                transport, connection = await loop.create_connection(
                    lambda: new_connection("", loop, None, provider),
                    endpoint.host,
                    endpoint.port,
                    ssl=context,
                )
                check_http2(transport)
                await connection.opened()
        milliseconds = round(1000 * (time.perf_counter() - started))
        yield Probe(connection, _connection_facts(transport, connection, milliseconds), provider)
    finally:
        if connection is not None:
            connection.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timing.drain):
                    await connection.lost()


def _connection_facts(
    transport: asyncio.Transport, connection: ApnsConnection, milliseconds: int
) -> ConnectionFacts:
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    certificate = cast("Mapping[str, Any]", tls.getpeercert())  # present, because it was verified
    names = dict(certificate.get("subjectAltName", ()))
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    return ConnectionFacts(
        address=str(transport.get_extra_info("peername")[0]),
        tls=tls.version() or "",
        alpn=tls.selected_alpn_protocol() or "",
        subject=_certificate_name(certificate["subject"]) or str(names.get("DNS", "")),
        issuer=_certificate_name(certificate["issuer"]),
        certificate_ends=datetime.fromtimestamp(ends, UTC),
        streams=connection.granted,
        milliseconds=milliseconds,
    )


def _certificate_name(distinguished_name: Any) -> str:
    """Return the common name or the organization of a distinguished name, which `ssl` gives as nested tuples."""
    parts = {key: value for group in distinguished_name for key, value in group}
    return str(parts.get("commonName") or parts.get("organizationName") or "")
