"""The two APIs of broadcast channels, over httpx: there are too few such requests to need a codec of our own.

Sources: Apple's "Sending channel management requests to APNs" and "Sending broadcast push notification requests to
APNs". Management has a host of its own; pushes to channels go where all pushes go.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import httpx
import msgspec

from relay.apns.connection import Timing
from relay.apns.errors import CannotSendError
from relay.apns.pool import Endpoint, certificate_file
from relay.apns.provider_token import ProviderToken
from relay.apns.responses import BODY_MAX, json_reason
from relay.apns.sender import ApnsSender
from relay.core.accounts import CredentialKind, Environment
from relay.core.channels import Created
from relay.core.delivery.sending import Answer, Credential, Fate, PushHeaders

_PARALLEL: Final = 200
"""Requests under way at once with one credential; its others wait."""
_IDLE: Final = 600.0
"""Seconds after which an idle connection is closed. Apple takes churn for an attack."""


@dataclass(frozen=True, slots=True)
class ChannelEndpoints:
    """Where channels of an environment are managed, and where they are pushed to."""

    management: Endpoint
    pushes: Endpoint


@dataclass(slots=True)
class _Clients:
    version: int
    management: httpx.AsyncClient
    pushes: httpx.AsyncClient
    room: asyncio.Semaphore

    async def aclose(self) -> None:
        await asyncio.gather(self.management.aclose(), self.pushes.aclose())


class AppleChannels:
    """Implements `relay.core.channels.ChannelProvider`. The JWTs are those of `sender`.

    Each credential has connections of its own: Apple allows one team on each.
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
        self._longest = timing.connect + timing.response
        self._clients: dict[int, _Clients] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def create(self, credential: Credential, bundle_id: str, *, message_storage: bool) -> Created:
        """Make a channel: 201 with its identifier."""
        body = msgspec.json.encode(
            {"message-storage-policy": int(message_storage), "push-type": "LiveActivity"}
        )
        answer, headers = await self._manage(credential, "POST", bundle_id, {}, body)
        apns_channel_id = headers.get("apns-channel-id", "")
        if answer.status == 201 and not apns_channel_id:
            return Created(Answer(Fate.UNKNOWN, 0, "MalformedAnswer"))
        return Created(answer, apns_channel_id)

    async def delete(self, credential: Credential, bundle_id: str, apns_channel_id: str) -> Answer:
        """Delete a channel: 204, or 400 ChannelNotRegistered if there is none."""
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
        """Push to a channel: 200. The request's id is the push's, the same at every attempt."""
        fields = {
            "apns-request-id": str(push_id),
            "apns-channel-id": apns_channel_id,
            "apns-push-type": headers.push_type,
            "apns-priority": str(headers.priority),
            "apns-expiration": str(headers.expiration or 0),
        }
        try:
            clients = self._of(credential)
        except CannotSendError as error:
            return Answer(Fate.NOT_SENT, 0, error.reason)
        path = f"/4/broadcasts/apps/{bundle_id}"
        return (await self._ask(credential, clients, clients.pushes, "POST", path, fields, payload))[0]

    async def aclose(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(one.aclose() for one in clients.values()), *self._closing)

    async def _manage(
        self, credential: Credential, method: str, bundle_id: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[Answer, Mapping[str, str]]:
        try:
            clients = self._of(credential)
        except CannotSendError as error:
            return Answer(Fate.NOT_SENT, 0, error.reason), {}
        path = f"/1/apps/{bundle_id}/channels"
        return await self._ask(credential, clients, clients.management, method, path, headers, body)

    async def _ask(
        self,
        credential: Credential,
        clients: _Clients,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
    ) -> tuple[Answer, Mapping[str, str]]:
        """The answer and its headers, within the time of a connect and a response: leases go by that."""
        authorization = ""
        try:
            provider = self._sender.provider(credential)
            if provider is not None:
                authorization = headers["authorization"] = provider.get_header()
            with _network_errors():
                async with asyncio.timeout(self._longest), clients.room:
                    response = await client.request(method, path, headers=headers, content=body)
        except CannotSendError as error:
            return Answer(Fate.NOT_SENT, 0, error.reason), {}
        except _NoAnswer as error:
            return Answer(Fate.UNKNOWN, 0, error.reason), {}
        reason, timestamp = "", None
        if response.status_code >= 400:
            reason, timestamp = json_reason(response.content[:BODY_MAX])
        if provider is not None:
            _heed(provider, reason, authorization)
        return Answer(Fate.ANSWERED, response.status_code, reason, timestamp), response.headers

    def _of(self, credential: Credential) -> _Clients:
        """The connections of a credential; a new version of it gets new ones. Raises CannotSendError."""
        found = self._clients.get(credential.credential_id)
        if found is not None and found.version == credential.version:
            return found
        endpoints = self._endpoints[credential.environment]
        made = _Clients(
            credential.version,
            self._client(credential, endpoints.management),
            self._client(credential, endpoints.pushes),
            asyncio.Semaphore(_PARALLEL),
        )
        self._clients[credential.credential_id] = made
        if found is not None:
            closing = asyncio.get_running_loop().create_task(found.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return made

    def _client(self, credential: Credential, endpoint: Endpoint) -> httpx.AsyncClient:
        # A context of its own: httpx changes what it offers by ALPN.
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
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=2, keepalive_expiry=_IDLE),
            trust_env=False,
        )


class _NoAnswer(Exception):
    """It may have arrived, and no answer came."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def _network_errors() -> Iterator[None]:
    """httpx's exceptions: what cannot have arrived as CannotSendError, and the rest as _NoAnswer."""
    try:
        yield
    except httpx.ConnectTimeout:
        raise CannotSendError("ConnectTimeout") from None
    except httpx.ConnectError:
        raise CannotSendError("ConnectFailed") from None
    except httpx.PoolTimeout:
        raise CannotSendError("NoConnection") from None
    except (httpx.TimeoutException, TimeoutError):
        raise _NoAnswer("ResponseTimeout") from None
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError):
        raise _NoAnswer("ConnectionLost") from None
    except RuntimeError:  # httpx: the client was closed before this left, because the credential was replaced
        raise CannotSendError("CredentialReplaced") from None


def _heed(provider: ProviderToken, reason: str, authorization: str) -> None:
    """What an answer says of the JWT."""
    if reason == "ExpiredProviderToken":
        provider.invalidate(authorization)
    elif reason == "TooManyProviderTokenUpdates":
        provider.hold()
