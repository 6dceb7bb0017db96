"""The door to Apple: a pool per credential, and the batches on their way through it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from relay.apns.connection import Timing
from relay.apns.errors import CannotSendError
from relay.apns.pool import CertificatePool, Endpoint, KeyPool, refuse, tls_context
from relay.apns.provider_token import ProviderToken
from relay.core.accounts import Environment
from relay.core.delivery.sending import Credential, SendBatch

APPLE: Final[Mapping[Environment, Endpoint]] = {
    Environment.PRODUCTION: Endpoint("api.push.apple.com"),
    Environment.SANDBOX: Endpoint("api.sandbox.push.apple.com"),
}


class ApnsSender:
    """Implements `relay.core.sending.Sender` on aioapns's pools.

    `endpoints`: where each environment's APNs is. `max_connections`: per credential. `clock`: epoch seconds,
    for the JWTs. Use it in one event loop.
    """

    def __init__(
        self,
        endpoints: Mapping[Environment, Endpoint] = APPLE,
        *,
        max_connections: int = 4,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoints = endpoints
        self._max_connections = max_connections
        self._timing = timing or Timing()
        self._clock = clock
        self._pools: dict[int, tuple[Credential, KeyPool | CertificatePool]] = {}
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def send(self, credential: Credential, batches: Sequence[SendBatch]) -> None:
        """Send all batches; on return every `answers` entry is set. Never raises for what APNs or the network
        does.

        A batch can be sent once. If the caller is cancelled, pushes that have not left end as NOT_SENT
        "Cancelled".
        """
        try:
            pool = self._pool(credential)
        except CannotSendError as error:
            refuse(batches, error.reason)
            return
        await pool.send(batches)

    async def forget(self, credential_id: int) -> None:
        """Close that credential's connections: queued pushes end as NOT_SENT, those in flight may still be
        answered."""
        found = self._pools.pop(credential_id, None)
        if found is not None:
            await found[1].aclose("CredentialForgotten")

    def provider(self, credential: Credential) -> ProviderToken | None:
        """What makes the JWTs of that credential; None for a certificate. Raises CannotSendError.

        Whoever else talks to Apple with it shares this one: Apple wants one JWT of a key at a time.
        """
        return self._pool(credential).provider

    @property
    def usage(self) -> tuple[int, int]:
        """(connections, streams): those that are open."""
        connections = [one for _, pool in self._pools.values() for one in pool.connections]
        return len(connections), sum(one.streams for one in connections)

    async def aclose(self) -> None:
        """Close all connections in order; pushes submitted from now on end as NOT_SENT."""
        self._closed = True
        await asyncio.gather(*(self.forget(credential_id) for credential_id in list(self._pools)))
        await asyncio.gather(*self._closing)

    def _pool(self, credential: Credential) -> KeyPool | CertificatePool:
        """That credential's pool; a new version gets a new one, and the former drains."""
        if self._closed:
            raise CannotSendError("Closed")
        found = self._pools.get(credential.credential_id)
        if found is not None:
            former, pool = found
            if former.version == credential.version:
                return pool
            del self._pools[credential.credential_id]
            closing = asyncio.get_running_loop().create_task(pool.aclose("CredentialReplaced"))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        pool = self._make_pool(credential)
        self._pools[credential.credential_id] = (credential, pool)
        return pool

    def _make_pool(self, credential: Credential) -> KeyPool | CertificatePool:
        endpoint = self._endpoints[credential.environment]
        timing, most = self._timing, self._max_connections
        if credential.kind == "certificate":  # its context holds the certificate: not to be shared
            context = tls_context(endpoint.ca_file)
            return CertificatePool(credential, endpoint, context, timing=timing, max_connections=most)
        shared = self._contexts.get(endpoint.ca_file)
        if shared is None:
            shared = self._contexts[endpoint.ca_file] = tls_context(endpoint.ca_file)
        return KeyPool(credential, endpoint, shared, clock=self._clock, timing=timing, max_connections=most)
