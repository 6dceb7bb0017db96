"""What an installed copy does with its install_ token: learn who it is, register device tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from aiohttp import web

from relay.api.fields import DeviceToken, TokenKind, token_kind_in_query
from relay.api.http import answer, authenticate, bearer, convert, read_json, route
from relay.core.clock import Clock
from relay.core.install_tokens import PREFIX, InstallTokens
from relay.errors import Conflict, Fault, Unauthenticated
from relay.store.database import Database
from relay.store.device_tokens import MOST_KINDS, DeviceTokens, TooManyKinds
from relay.store.installations import Installation, Installations

SERVICES = ("push",)


class _DeviceTokenBody(msgspec.Struct, forbid_unknown_fields=True):
    device_token: DeviceToken
    kind: TokenKind = "apns"


class _Caller(NamedTuple):
    installation: Installation
    serial: int


class DeviceApi:
    """`/v1.0/installation/`: a copy acts for itself, and can do nothing else."""

    def __init__(self, database: Database, install_tokens: InstallTokens, clock: Clock) -> None:
        self._installations = Installations(database)
        self._device_tokens = DeviceTokens(database)
        self._install_tokens = install_tokens
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield from route("GET", "/v1.0/installation/", self.show)
        yield from route("PUT", "/v1.0/installation/device-token/", self.register)
        yield from route("DELETE", "/v1.0/installation/device-token/", self.withdraw)

    async def show(self, request: web.Request) -> web.Response:
        """200 and the installation, with the identifiers its publisher knows it by."""
        copy = (await self._caller(request)).installation
        return answer(
            {
                "installation_uuid": copy.installation_uuid,
                "app_id": copy.app_id,
                "customer_id": copy.customer_identifier,
                "device_id": copy.device_identifier,
                "alongside": copy.alongside,
                "bundle_id": copy.bundle_id,
                "team_id": copy.team_id,
                "environment": copy.environment,
                "app_version": copy.app_version,
                "services": SERVICES,
            }
        )

    async def register(self, request: web.Request) -> web.Response:
        """204: the device token is the copy's, as it was before or from now on."""
        copy, serial = await self._caller(request)
        body = convert(await read_json(request), _DeviceTokenBody)
        token = bytes.fromhex(body.device_token)
        try:
            registered = await self._device_tokens.register(
                copy.app_id, copy.installation_id, serial, body.kind, token, self._clock.now()
            )
        except TooManyKinds:
            detail = f"This installation has {MOST_KINDS} kinds of device tokens."
            raise Conflict(faults=[Fault("too_many", "/kind", detail)]) from None
        if not registered:
            raise _retired()
        return web.Response(status=204)

    async def withdraw(self, request: web.Request) -> web.Response:
        """204: the copy has no device token of that kind (`?kind=`, default apns)."""
        copy = (await self._caller(request)).installation
        kind = token_kind_in_query(request.query.get("kind", "apns"))
        await self._device_tokens.withdraw(copy.app_id, copy.installation_id, kind, self._clock.now())
        return web.Response(status=204)

    async def _caller(self, request: web.Request) -> _Caller:
        text = bearer(request)
        if not text.startswith(PREFIX):
            await authenticate(request, "install")  # no API token is: it says which kind this one is
            raise _retired()
        claims = self._install_tokens.verify(text)
        if claims is None:
            raise _retired()
        installation = await self._installations.find(*claims)
        if installation is None:
            raise _retired()
        return _Caller(installation, claims.serial)


def _retired() -> Unauthenticated:
    return Unauthenticated("The token is unknown, or its installation is retired or replaced.")
