"""Services framework of an installed app, in asyncio: identifiers of the copy, device tokens and aliases."""

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

_Answer = TypeVar("_Answer")
PUSH = "push"
"""The identifier of the push service."""


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """The values that the store writes into the Info.plist of a copy when it installs the copy."""

    installation_uuid: UUID
    team_id: str
    install_token: str = field(repr=False)


class OperatingSystem(Protocol):
    """The part of iOS that the framework needs."""

    async def register_for_remote_notifications(self) -> bytes:
        """Return the device token of this copy, as `didRegisterForRemoteNotificationsWithDeviceToken` receives it."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The relay's record of a copy. `environment` is None if the store does not know it."""

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
    """An alias of the customer. The relay does not return the address itself."""

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
    """The framework in one copy of an app, as an async context manager. It leaves a session of the caller open.

    Without `bundle_info` the copy was not installed by the store. Identifiers are fetched once and cached until the
    relay answers that the copy is unknown. Every method raises a ServicesError: NotInstalledViaStore,
    ServiceNotAvailable, ApiErrors, Unhandled or Underlying.
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
        self._closes_session = session is None
        self._operating_system = operating_system
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._identity: Identity | None = None
        self._identity_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, unless the caller gave it."""
        if self._closes_session and self._session is not None:
            await self._session.close()
            self._session = None

    # --- identifiers ---

    async def is_installed_via_appdb(self) -> bool:
        """Return True if the store installed this copy and still knows it. Every call asks the relay."""
        try:
            async with self._identity_lock:
                self._identity = await self._fetch_identity()
        except NotInstalledViaStore:
            return False
        return True

    async def get_persistent_customer_identifier(self) -> str:
        """Return the customer's identifier (c_…): equal on all their devices, different in every app."""
        return (await self.identity()).customer_id

    async def get_persistent_device_identifier(self) -> str:
        """Return the device's identifier (d_…): different in every app."""
        return (await self.identity()).device_id

    async def get_apple_bundle_identifier(self) -> str:
        """Return the bundle identifier of this copy at Apple. A new installation may change it."""
        return (await self.identity()).bundle_id

    async def get_appdb_app_identifier(self) -> str:
        """Return the store's identifier of the app: the `app_id` of a push."""
        return (await self.identity()).app_id

    async def get_alongside_identifier(self) -> str:
        """Return "" for the first copy on a device, and up to five characters for each further copy."""
        return (await self.identity()).alongside

    async def get_installation_uuid(self) -> UUID:
        """Return the UUID of this installation. Every version and every copy has its own."""
        return (await self.identity()).installation_uuid

    async def get_supported_services_identifiers(self) -> tuple[str, ...]:
        """Return the services that this copy may use, for example ("push",)."""
        return (await self.identity()).services

    async def identity(self) -> Identity:
        """Return all identifiers of this copy."""
        async with self._identity_lock:  # many callers at the start of an app make one request
            if self._identity is None:
                self._identity = await self._fetch_identity()
            return self._identity

    async def _fetch_identity(self) -> Identity:
        answer = await self._call("GET", "installation/")
        return _read(answer, Identity)

    # --- push ---

    async def register_push_notifications(self) -> None:
        """Get a device token from the operating system and assign it. An app calls this at every launch."""
        await self._require_push()
        if self._operating_system is None:
            raise ServiceNotAvailable(PUSH)
        await self.assign_push_token(await self._operating_system.register_for_remote_notifications())

    async def assign_push_token(self, data: bytes, *, kind: str = "apns") -> None:
        """Register a device token at the relay. `kind` names tokens of PushKit and ActivityKit."""
        await self._require_push()
        await self._call("PUT", "installation/device-token/", {"device_token": data.hex(), "kind": kind})

    async def unregister_push_notifications(self, *, kind: str = "apns") -> None:
        """Withdraw the device token of that kind: the relay sends no more pushes to it."""
        await self._call("DELETE", "installation/device-token/", kind=kind)

    # --- aliases, for apps whose publisher allows them ---

    async def attach_alias(self, address: str) -> CustomerAlias:
        """Attach an e-mail address that the user signed in with: publishers can push to it. Idempotent."""
        return _read(await self._call("POST", "installation/aliases/", {"alias": address}), CustomerAlias)

    async def get_aliases(self) -> tuple[CustomerAlias, ...]:
        """Return all aliases of the customer, oldest first."""
        return _read(await self._call("GET", "installation/aliases/"), _Aliases).items

    async def remove_alias(self, alias_id: UUID) -> None:
        """Remove an alias, because the user has signed out."""
        await self._call("DELETE", f"installation/aliases/{alias_id}/")

    async def get_broadcast_channel(self, channel_id: UUID) -> str:
        """Return Apple's identifier of a channel of the app's publisher; ActivityKit subscribes to it."""
        answer = await self._call("GET", f"installation/channels/{channel_id}/")
        try:
            return msgspec.json.decode(answer, type=_AppleChannel).apns_channel_id
        except msgspec.DecodeError:
            raise Unhandled("the relay's answer is not a channel") from None

    async def _require_push(self) -> None:
        if PUSH not in await self.get_supported_services_identifiers():
            raise ServiceNotAvailable(PUSH)

    # --- requests ---

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


def _read(answer: bytes, kind: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError:
        raise Unhandled("the relay's answer is not what was asked for") from None


def _refusal(status: int, answer: bytes) -> ApiErrors | Unhandled:
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except msgspec.DecodeError:
        return Unhandled(f"status {status}")
    return ApiErrors(status, tuple(ApiError(*msgspec.structs.astuple(error)) for error in problem.errors))
