"""The services framework as an installed app sees it, in asyncio: who am I, and here is my device token."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from uuid import UUID

import aiohttp
import msgspec

from sdk_stub.errors import (
    ApiError,
    ApiErrors,
    NotInstalledViaStore,
    ServiceNotAvailable,
    Underlying,
    Unhandled,
)

_T = TypeVar("_T")
PUSH = "push"
"""The identifier of the push service."""


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What the store writes into a copy's Info.plist when it installs it."""

    installation_uuid: UUID
    team_id: str
    install_token: str = field(repr=False)


class OperatingSystem(Protocol):
    """The part of iOS that the framework needs."""

    async def register_for_remote_notifications(self) -> bytes:
        """The device token of this copy, as `didRegisterForRemoteNotificationsWithDeviceToken` has it."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay tells a copy about itself. `environment` is None where the store does not know it."""

    installation_uuid: UUID
    app_id: str
    customer_id: str
    device_id: str
    alongside: str
    bundle_id: str
    team_id: str
    services: tuple[str, ...]
    environment: str | None = None
    app_version: str = ""


class CustomerAlias(msgspec.Struct, frozen=True, kw_only=True):
    """An address by which the customer can be reached as well. The address itself is not told."""

    id: UUID
    created_at: datetime


class _Aliases(msgspec.Struct):
    items: tuple[CustomerAlias, ...]


class _AppleChannel(msgspec.Struct):
    apns_channel_id: str


class _ErrorDocument(msgspec.Struct):
    code: str
    pointer: str
    detail: str


class _Problem(msgspec.Struct):
    errors: tuple[_ErrorDocument, ...]


class ServicesClient:
    """The framework in one copy of an app. An async context manager; a given session is left open.

    Without `bundle_info` the copy was not installed by the store. Identifiers are fetched once and kept until the relay
    says that it no longer knows the copy.
    Every method raises a ServicesError: NotInstalledViaStore, ServiceNotAvailable, ApiErrors, Unhandled or
    Underlying.
    """

    def __init__(
        self,
        relay_url: str,
        bundle_info: BundleInfo | None,
        session: aiohttp.ClientSession | None = None,
        *,
        operating_system: OperatingSystem | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._url = relay_url.rstrip("/")
        self._bundle_info = bundle_info
        self._session = session
        self._own_session = session is None
        self._operating_system = operating_system
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._identity: Identity | None = None
        self._fetching = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, if it is our own."""
        if self._own_session and self._session is not None:
            await self._session.close()
            self._session = None

    # --- who am I ---

    async def is_installed_via_appdb(self) -> bool:
        """Whether the store installed this copy and still knows it: the relay is asked each time."""
        try:
            async with self._fetching:
                self._identity = await self._fetch_identity()
        except NotInstalledViaStore:
            return False
        return True

    async def get_persistent_customer_identifier(self) -> str:
        """c_…: the customer, the same on all their devices, different in every app."""
        return (await self.identity()).customer_id

    async def get_persistent_device_identifier(self) -> str:
        """d_…: the device, different in every app."""
        return (await self.identity()).device_id

    async def get_apple_bundle_identifier(self) -> str:
        """The bundle identifier Apple knows this copy by; it may change when the copy is installed again."""
        return (await self.identity()).bundle_id

    async def get_appdb_app_identifier(self) -> str:
        """The store's identifier of the app: the `app_id` of a push."""
        return (await self.identity()).app_id

    async def get_alongside_identifier(self) -> str:
        """ "" for the only copy on a device, up to five characters for each further one."""
        return (await self.identity()).alongside

    async def get_installation_uuid(self) -> UUID:
        """This installation: another version or copy has another."""
        return (await self.identity()).installation_uuid

    async def get_supported_services_identifiers(self) -> tuple[str, ...]:
        """The services this copy may use, for example ("push",)."""
        return (await self.identity()).services

    async def identity(self) -> Identity:
        """All of the above at once."""
        async with self._fetching:  # many callers at the start of an app, one request
            if self._identity is None:
                self._identity = await self._fetch_identity()
            return self._identity

    async def _fetch_identity(self) -> Identity:
        answer = await self._call("GET", "installation/")
        return _read(answer, Identity)

    # --- push ---

    async def register_push_notifications(self) -> None:
        """Get a device token from the operating system and assign it. To be called at every launch."""
        await self._require_push()
        if self._operating_system is None:
            raise ServiceNotAvailable(PUSH)
        await self.assign_push_token(await self._operating_system.register_for_remote_notifications())

    async def assign_push_token(self, data: bytes, *, kind: str = "apns") -> None:
        """Tell the relay the device token; `kind` is for tokens of PushKit and ActivityKit."""
        await self._require_push()
        await self._call("PUT", "installation/device-token/", {"device_token": data.hex(), "kind": kind})

    async def unregister_push_notifications(self, *, kind: str = "apns") -> None:
        """Take the device token back: nothing is pushed to this copy any more."""
        await self._call("DELETE", "installation/device-token/", kind=kind)

    # --- aliases, where the publisher lets the copies of its app say them ---

    async def attach_alias(self, address: str) -> CustomerAlias:
        """The user has signed in with this e-mail address: a publisher may name them by it. Again changes nothing."""
        return _read(await self._call("POST", "installation/aliases/", {"alias": address}), CustomerAlias)

    async def get_aliases(self) -> tuple[CustomerAlias, ...]:
        """All aliases of the customer, oldest first."""
        return _read(await self._call("GET", "installation/aliases/"), _Aliases).items

    async def remove_alias(self, alias_id: UUID) -> None:
        """The user has signed out: they are not reached by that address any more."""
        await self._call("DELETE", f"installation/aliases/{alias_id}/")

    async def get_broadcast_channel(self, channel_id: UUID) -> str:
        """The channel that ActivityKit is given to subscribe to, for a channel of the app's publisher."""
        answer = await self._call("GET", f"installation/channels/{channel_id}/")
        try:
            return msgspec.json.decode(answer, type=_AppleChannel).apns_channel_id
        except msgspec.DecodeError:
            raise Unhandled("the relay's answer is not a channel") from None

    async def _require_push(self) -> None:
        if PUSH not in await self.get_supported_services_identifiers():
            raise ServiceNotAvailable(PUSH)

    # --- the wire ---

    async def _call(self, method: str, path: str, body: Any = None, **query: str) -> bytes:
        if self._bundle_info is None:
            raise NotInstalledViaStore
        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = {"Authorization": f"Bearer {self._bundle_info.install_token}"}
        try:
            async with self._session.request(
                method,
                f"{self._url}/v1.0/{path}",
                json=body,
                params=query,
                headers=headers,
                timeout=self._timeout,
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Underlying(error) from None
        if response.status == 401:
            self._identity = None  # the copy was retired or replaced
            raise NotInstalledViaStore
        if response.status >= 400:
            raise _refusal(response.status, answer)
        if response.status not in (200, 201, 204):
            raise Unhandled(f"status {response.status}")
        return answer


def _read(answer: bytes, to: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answer, type=to)
    except msgspec.DecodeError:
        raise Unhandled("the relay's answer is not what was asked for") from None


def _refusal(status: int, answer: bytes) -> ApiErrors | Unhandled:
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except msgspec.DecodeError:
        return Unhandled(f"status {status}")
    return ApiErrors(status, tuple(ApiError(*msgspec.structs.astuple(error)) for error in problem.errors))
