"""The door to Apple: a pool per credential in use, and the batches on their way through it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from relay.apns.connection import Submission, Timing
from relay.apns.connection_cache import ConnectionCache
from relay.apns.errors import CannotSendError
from relay.apns.opening import OpeningQueue
from relay.apns.pool import CertificatePool, CredentialPool, Endpoint, KeyPool, Place, Process
from relay.apns.provider_token import ProviderToken
from relay.apns.timer_wheel import TimerWheel
from relay.core.accounts import Environment
from relay.core.delivery.sending import Credential, SendBatch

APPLE: Final[Mapping[Environment, Endpoint]] = {
    Environment.PRODUCTION: Endpoint("api.push.apple.com"),
    Environment.SANDBOX: Endpoint("api.sandbox.push.apple.com"),
}
MAX_EMPTY_POOLS: Final = 2_000
"""Pools without connections that are kept: they remember failures, and parsed keys."""


class SenderLimits(NamedTuple):
    """Bounds of one process. `connects_per_second` 0 sets no pace."""

    max_connections: int = 10_000
    connections_per_credential: int = 2
    connects_per_second: float = 0.0


class ApnsSender:
    """Implements `relay.core.delivery.sending.Sender` on aioapns's pools. Use it in one event loop.

    `endpoints`: where each environment's APNs is. `clock`: epoch seconds, for the JWTs.
    """

    def __init__(
        self,
        endpoints: Mapping[Environment, Endpoint] = APPLE,
        *,
        limits: SenderLimits | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoints = endpoints
        self._limits = limits or SenderLimits()
        self._timing = timing or Timing()
        self._clock = clock
        self._pools: dict[int, CredentialPool] = {}
        """By credential id."""
        self._empty: OrderedDict[int, None] = OrderedDict()
        """The credential ids of pools without connections, the longest empty first."""
        self._places: dict[Environment, Place] = {}
        self._process: Process | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def submit(
        self,
        credential: Credential,
        batches: Sequence[SendBatch],
        on_done: Callable[[], None],
        *,
        urgent: bool = False,
    ) -> Submission:
        """Send batches. `on_done` is called when every `answers` entry of them is set, perhaps before this returns.

        Never raises for what APNs or the network does. A batch can be sent once. `urgent`: if a connection has to be
        opened, before those for submissions that are not.
        """
        submission = Submission(batches, on_done, urgent=urgent)
        try:
            pool = self._pool(credential)
        except CannotSendError as error:
            submission.refuse(error.reason)
        else:
            submission.pool = pool
            pool.submit(submission)
        return submission

    def withdraw(self, submission: Submission) -> None:
        """End as NOT_SENT "Cancelled" what has not left. The answers of what has left are ignored."""
        if submission.pool is not None:
            submission.pool.withdraw(submission)

    async def send(self, credential: Credential, batches: Sequence[SendBatch]) -> None:
        """Send batches, and return when every `answers` entry is set. If cancelled, `withdraw` them."""
        done = asyncio.get_running_loop().create_future()

        def on_done() -> None:
            if not done.done():
                done.set_result(None)

        submission = self.submit(credential, batches, on_done)
        try:
            await done
        except asyncio.CancelledError:
            self.withdraw(submission)
            raise

    async def forget(self, credential_id: int) -> None:
        """Close a credential's connections: queued pushes end as NOT_SENT, those in flight may still be answered."""
        self._empty.pop(credential_id, None)
        pool = self._pools.pop(credential_id, None)
        if pool is not None:
            await pool.aclose("CredentialForgotten")

    def provider(self, credential: Credential) -> ProviderToken | None:
        """Return the maker of the JWTs of that credential; None for a certificate. Raises CannotSendError.

        All requests to Apple with one key share it: Apple wants one JWT of a key at a time.
        """
        return self._pool(credential).provider

    def credential_ids(self) -> list[int]:
        """Return the ids of the credentials that have connections or pushes."""
        return list(self._pools)

    @property
    def usage(self) -> tuple[int, int]:
        """(open connections, open streams)."""
        if self._process is None:
            return 0, 0
        cache = self._process.cache
        return len(cache), sum(connection.streams for connection in cache)

    @property
    def opening(self) -> OpeningQueue | None:
        """The queue of connections that are to be opened; None before the first push."""
        return self._process.opening if self._process else None

    async def aclose(self) -> None:
        """Close all connections in order; pushes submitted from now on end as NOT_SENT."""
        self._closed = True
        if self._process is not None:
            await self._process.opening.aclose()
        await asyncio.gather(*(self.forget(credential_id) for credential_id in list(self._pools)))
        await asyncio.gather(*self._closing)

    def _pool(self, credential: Credential) -> CredentialPool:
        """Return that credential's pool. A new version gets a new one, and the former drains."""
        if self._closed:
            raise CannotSendError("Closed")
        pool = self._pools.get(credential.credential_id)
        if pool is not None:
            if pool.version == credential.version:
                return pool
            self._empty.pop(credential.credential_id, None)
            del self._pools[credential.credential_id]
            closing = asyncio.get_running_loop().create_task(pool.aclose("CredentialReplaced"))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        pool = self._pools[credential.credential_id] = self._make_pool(credential)
        return pool

    def _make_pool(self, credential: Credential) -> CredentialPool:
        loop = asyncio.get_running_loop()
        if self._process is None:
            cache = ConnectionCache(self._limits.max_connections)
            self._process = Process(
                cache, OpeningQueue(cache, self._limits.connects_per_second), self._note_empty
            )
            wheel = TimerWheel(loop, self._timing.tick)
            self._places = {
                environment: Place(endpoint, self._timing, wheel)
                for environment, endpoint in self._endpoints.items()
            }
        place = self._places[credential.environment]
        pool: CredentialPool
        if credential.kind == "certificate":
            pool = CertificatePool(credential, place, self._process)
        else:
            pool = KeyPool(credential, place, self._process, self._clock)
        pool.max_connections = self._limits.connections_per_credential
        return pool

    def _note_empty(self, pool: CredentialPool) -> None:
        """Keep a bounded number of pools that have no connections, and of those only what has something to remember."""
        credential_id = pool.credential_id
        if self._pools.get(credential_id) is not pool:
            return
        self._empty[credential_id] = None
        self._empty.move_to_end(credential_id)
        for other_id in list(self._empty)[: max(0, len(self._empty) - MAX_EMPTY_POOLS)]:
            del self._empty[other_id]
            other = self._pools[other_id]
            if not (other.connections or other.has_work):
                del self._pools[other_id]
