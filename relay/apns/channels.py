"""Apple's two APIs of broadcast channels, over httpx: such requests are too rare for the relay's own codec.

Sources: Apple's "Sending channel management requests to APNs" and "Sending broadcast push notification requests to
APNs". Management has a host of its own; pushes to channels go to the host of all pushes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import httpx
import msgspec

from relay.apns.connection import Timing
from relay.apns.errors import CannotSendError
from relay.apns.pool import Endpoint, certificate_file
from relay.apns.provider_token import ProviderToken
from relay.apns.responses import MAX_BODY_BYTES, json_reason
from relay.apns.sender import ApnsSender
from relay.core.accounts import CredentialKind, Environment
from relay.core.channels import CreatedChannel
from relay.core.delivery.sending import Answer, Credential, Fate
from relay.core.push.apns_headers import PushHeaders

_MAX_PARALLEL_REQUESTS: Final = 200
"""Concurrent requests of one credential; further requests wait."""
_IDLE_SECONDS: Final = 600.0
"""An idle connection stays open this long: Apple treats frequent connects as an attack."""


@dataclass(frozen=True, slots=True)
class ChannelEndpoints:
    """The hosts of an environment: for channel management, and for pushes to channels."""

    management: Endpoint
    pushes: Endpoint


@dataclass(frozen=True, slots=True)
class _ChannelClients:
    """The HTTP clients of one version of a credential."""

    version: int
    management: httpx.AsyncClient
    pushes: httpx.AsyncClient
    request_slots: asyncio.Semaphore

    async def aclose(self) -> None:
        await asyncio.gather(self.management.aclose(), self.pushes.aclose())


class _ChannelRequest(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None


class AppleChannels:
    """Channels at Apple: an implementation of `relay.core.channels.ChannelProvider` with the JWTs of `sender`.

    Each credential has its own connections, because Apple allows one team per connection.
    """

    def __init__(
        self,
        endpoints: Mapping[Environment, ChannelEndpoints],
        sender: ApnsSender,
        *,
        timing: Timing | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._sender = sender
        timing = timing or Timing()
        self._timeout = httpx.Timeout(timing.response, connect=timing.connect)
        self._deadline_seconds = timing.connect + timing.response
        self._clients: dict[int, _ChannelClients] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def create(
        self, credential: Credential, bundle_id: str, *, message_storage: bool
    ) -> CreatedChannel:
        """Create a channel. The answer is 201 with the channel's identifier."""
        body = msgspec.json.encode(
            {"message-storage-policy": int(message_storage), "push-type": "LiveActivity"}
        )
        answer, headers = await self._manage(credential, "POST", bundle_id, {}, body)
        apns_channel_id = headers.get("apns-channel-id", "")
        if answer.status == 201 and not apns_channel_id:
            return CreatedChannel(Answer(Fate.UNKNOWN, 0, "MalformedAnswer"))
        return CreatedChannel(answer, apns_channel_id)

    async def delete(self, credential: Credential, bundle_id: str, apns_channel_id: str) -> Answer:
        """Delete a channel. The answer is 204, or 400 ChannelNotRegistered for an unknown channel."""
        headers = {"apns-channel-id": apns_channel_id}
        return (await self._manage(credential, "DELETE", bundle_id, headers, None))[0]

    async def broadcast(
        self,
        credential: Credential,
        bundle_id: str,
        apns_channel_id: str,
        push_id: UUID,
        headers: PushHeaders,
        payload: bytes,
    ) -> Answer:
        """Push to a channel. The answer is 200; `push_id` is the request id, equal at every attempt."""
        fields = {
            "apns-request-id": str(push_id),
            "apns-channel-id": apns_channel_id,
            "apns-push-type": headers.push_type,
            "apns-priority": str(headers.priority),
            "apns-expiration": str(headers.expiration or 0),
        }
        try:
            clients = self._clients_of(credential)
        except CannotSendError as error:
            return Answer(Fate.NOT_SENT, 0, error.reason)
        path = f"/4/broadcasts/apps/{bundle_id}"
        request = _ChannelRequest("POST", path, fields, payload)
        return (await self._send(credential, clients, clients.pushes, request))[0]

    async def aclose(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(former.aclose() for former in clients.values()), *self._closing)

    async def _manage(
        self, credential: Credential, method: str, bundle_id: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[Answer, Mapping[str, str]]:
        try:
            clients = self._clients_of(credential)
        except CannotSendError as error:
            return Answer(Fate.NOT_SENT, 0, error.reason), {}
        path = f"/1/apps/{bundle_id}/channels"
        request = _ChannelRequest(method, path, headers, body)
        return await self._send(credential, clients, clients.management, request)

    async def _send(
        self,
        credential: Credential,
        clients: _ChannelClients,
        client: httpx.AsyncClient,
        request: _ChannelRequest,
    ) -> tuple[Answer, Mapping[str, str]]:
        """Return the answer and its headers within the time of a connect and a response: leases rely on that."""
        try:
            provider = self._sender.provider(credential)
            authorization = provider.get_header() if provider is not None else ""
            if authorization:
                request.headers["authorization"] = authorization
            with _network_errors():
                async with asyncio.timeout(self._deadline_seconds), clients.request_slots:
                    response = await client.request(
                        request.method, request.path, headers=request.headers, content=request.body
                    )
        except CannotSendError as error:
            return Answer(Fate.NOT_SENT, 0, error.reason), {}
        except _NoAnswerError as error:
            return Answer(Fate.UNKNOWN, 0, error.reason), {}
        reason, timestamp = "", None
        if response.status_code >= 400:
            reason, timestamp = json_reason(response.content[:MAX_BODY_BYTES])
        if provider is not None:
            _apply_reason(provider, reason, authorization)
        return Answer(Fate.ANSWERED, response.status_code, reason, timestamp), response.headers

    def _clients_of(self, credential: Credential) -> _ChannelClients:
        """Return the clients of a credential; a new version of it gets new ones. Raises CannotSendError."""
        former = self._clients.get(credential.credential_id)
        if former is not None and former.version == credential.version:
            return former
        endpoints = self._endpoints[credential.environment]
        clients = _ChannelClients(
            credential.version,
            self._new_client(credential, endpoints.management),
            self._new_client(credential, endpoints.pushes),
            asyncio.Semaphore(_MAX_PARALLEL_REQUESTS),
        )
        self._clients[credential.credential_id] = clients
        if former is not None:
            closing = asyncio.get_running_loop().create_task(former.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return clients

    def _new_client(self, credential: Credential, endpoint: Endpoint) -> httpx.AsyncClient:
        # Not shared: httpx changes the ALPN protocols of its context.
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if credential.kind == CredentialKind.CERTIFICATE:
            with certificate_file(credential) as path:
                context.load_cert_chain(path)
        return httpx.AsyncClient(
            base_url=f"https://{endpoint.host}:{endpoint.port}",
            verify=context,
            http1=False,
            http2=True,
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=2, keepalive_expiry=_IDLE_SECONDS),
            trust_env=False,
        )


class _NoAnswerError(Exception):
    """A request that may have arrived, without an answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def _network_errors() -> Iterator[None]:
    """Translate httpx's exceptions: CannotSendError if the request cannot have arrived, else _NoAnswerError."""
    try:
        yield
    except httpx.ConnectTimeout:
        raise CannotSendError("ConnectTimeout") from None
    except httpx.ConnectError:
        raise CannotSendError("ConnectFailed") from None
    except httpx.PoolTimeout:
        raise CannotSendError("NoConnection") from None
    except (httpx.TimeoutException, TimeoutError):
        raise _NoAnswerError("ResponseTimeout") from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError):
        raise _NoAnswerError("ConnectionLost") from None
    except RuntimeError:  # of httpx: the client of the former version was closed before the request left
        raise CannotSendError("CredentialReplaced") from None


def _apply_reason(provider: ProviderToken, reason: str, authorization: str) -> None:
    """Apply a reason that concerns the JWT."""
    if reason == "ExpiredProviderToken":
        provider.invalidate(authorization)
    elif reason == "TooManyProviderTokenUpdates":
        provider.hold()
