"""A look at APNs over a connection of its own: what is seen of it, and what Apple says of a credential.

No device is reached by it: the one push that `Probe.ask` sends goes to a device token of zeros, which Apple never gave
out. What it answers tells whether it let the credential in.
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
from typing import Any, Final
from uuid import UUID

from relay.apns.connection import ApnsConnection, Timing
from relay.apns.errors import connect_errors, credential_errors
from relay.apns.pool import Endpoint, certificate_file, check_http2, protocol_class, tls_context
from relay.apns.provider_token import ProviderToken
from relay.core.accounts import CredentialKind
from relay.core.delivery.sending import Answer, Credential, PushHeaders, SendBatch

NO_DEVICE: Final = "0" * 64
"""The device token of no device."""
_PAYLOAD: Final = b'{"aps":{"content-available":1}}'
_HEADERS: Final = PushHeaders("background", 5, expiration=0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a connection showed: its TLS, the server's certificate by its names, and its SETTINGS.

    `streams`: so many at once, None where SETTINGS name no number. `milliseconds`: from the name to the SETTINGS.
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
    """An open connection. Made by `probe`."""

    def __init__(self, connection: ApnsConnection, seen: Seen, provider: ProviderToken | None) -> None:
        self._connection = connection
        self._provider = provider
        self.seen = seen

    async def ask(self, topic: str, apns_id: UUID) -> Answer:
        """What Apple answers to a background push to no device with that topic, under the credential.

        Raises CannotSendError if the credential can't be used.
        """
        batch = SendBatch(_PAYLOAD, _HEADERS, [NO_DEVICE], [str(apns_id)], [topic])
        authorization = "" if self._provider is None else self._provider.get_header()
        await asyncio.wait([self._connection.submit([batch], authorization).done])
        [answer] = batch.answers
        assert answer is not None  # `done` says so
        return answer


def sign(credential: Credential, clock: Callable[[], float]) -> ProviderToken:
    """What makes the JWTs of a .p8 key, with one signed already. `clock`: epoch seconds. Raises CannotSendError."""
    provider = ProviderToken(credential.secret, credential.key_id, credential.team_id, clock)
    provider.get_header()
    return provider


@asynccontextmanager
async def probe(
    endpoint: Endpoint, credential: Credential | None, *, timing: Timing, clock: Callable[[], float]
) -> AsyncIterator[Probe]:
    """Open a connection to `endpoint`, as the credential's where one is given. Raises CannotSendError."""
    loop = asyncio.get_running_loop()
    with connect_errors():  # the file of authorities may be away
        context = tls_context(endpoint.ca_file)
    provider = None
    if credential is not None and credential.kind == CredentialKind.CERTIFICATE:
        with certificate_file(credential) as path, credential_errors():
            context.load_cert_chain(path)
    elif credential is not None:
        provider = sign(credential, clock)
    make = protocol_class(endpoint, timing)
    connection: ApnsConnection | None = None
    started = time.perf_counter()
    try:
        with connect_errors():
            async with asyncio.timeout(timing.connect):
                transport, connection = await loop.create_connection(
                    lambda: make("", loop, None, provider), endpoint.host, endpoint.port, ssl=context
                )
                check_http2(transport)
                await connection.opened()
        milliseconds = round(1000 * (time.perf_counter() - started))
        yield Probe(connection, _seen(transport, connection, milliseconds), provider)
    finally:
        if connection is not None:
            connection.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timing.drain):
                    await connection.lost()


def _seen(transport: asyncio.Transport, connection: ApnsConnection, milliseconds: int) -> Seen:
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    certificate: Mapping[str, Any] = tls.getpeercert() or {}  # verified, so it is there
    names = dict(certificate.get("subjectAltName", ()))
    ends = ssl.cert_time_to_seconds(certificate["notAfter"]) if "notAfter" in certificate else 0
    return Seen(
        address=str(transport.get_extra_info("peername")[0]),
        tls=tls.version() or "",
        alpn=tls.selected_alpn_protocol() or "",
        subject=_name(certificate.get("subject", ())) or str(names.get("DNS", "")),
        issuer=_name(certificate.get("issuer", ())),
        certificate_ends=datetime.fromtimestamp(ends, UTC),
        streams=connection.granted,
        milliseconds=milliseconds,
    )


def _name(distinguished: Any) -> str:
    """The common name or, without one, the organization, of what `ssl` gives as nested tuples."""
    parts = {key: value for group in distinguished for key, value in group}
    return str(parts.get("commonName") or parts.get("organizationName") or "")
