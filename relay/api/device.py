"""`/v1.0/installation/`: the endpoints for an installed copy, which authenticates with its install token."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from relay.api.aliases import answer_aliases, answer_attached
from relay.core.clock import Clock
from relay.core.errors import Conflict, Fault, Forbidden
from relay.core.install_tokens import InstallTokens
from relay.core.schema import DeviceToken, DeviceTokenKind, convert, token_kind_in_query, uuid_in_path
from relay.http.authentication import CopyAuthenticator, installation_retired
from relay.http.requests import answer, read_json, route
from relay.service.aliases import AliasBody, AliasService
from relay.store.database import Database
from relay.store.installations.device_tokens import MAX_TOKEN_KINDS, DeviceTokenRepository, TooManyTokenKinds
from relay.store.installations.installations import Installation

SERVICES = ("push",)


class _DeviceTokenBody(msgspec.Struct, forbid_unknown_fields=True):
    device_token: DeviceToken
    kind: DeviceTokenKind = "apns"


class DeviceApi:
    """Endpoints of a copy for its own installation: its data, its device tokens, the aliases of its customer."""

    def __init__(
        self,
        database: Database,
        install_tokens: InstallTokens,
        aliases: AliasService,
        clock: Clock,
    ) -> None:
        self._copies = CopyAuthenticator(database, install_tokens)
        self._device_tokens = DeviceTokenRepository(database)
        self._aliases = aliases
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("GET", "/v1.0/installation/", self.show_installation)
        yield from route("PUT", "/v1.0/installation/device-token/", self.register_token)
        yield from route("DELETE", "/v1.0/installation/device-token/", self.withdraw_token)
        yield from route("POST", "/v1.0/installation/aliases/", self.attach_alias)
        yield from route("GET", "/v1.0/installation/aliases/", self.list_aliases)
        yield from route("DELETE", "/v1.0/installation/aliases/{alias_id}/", self.remove_alias)

    async def show_installation(self, request: web.Request) -> web.Response:
        """`GET /v1.0/installation/`: 200 and the installation, with the identifiers its publisher sees."""
        copy = (await self._copies.authenticate_copy(request)).installation
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

    async def register_token(self, request: web.Request) -> web.Response:
        """`PUT /v1.0/installation/device-token/`: 204, and the device token is registered for the copy."""
        copy, serial = await self._copies.authenticate_copy(request)
        body = convert(await read_json(request), _DeviceTokenBody)
        token = bytes.fromhex(body.device_token)
        try:
            registered = await self._device_tokens.register_token(
                copy.app_id, copy.installation_id, serial, body.kind, token, self._clock.now()
            )
        except TooManyTokenKinds:
            detail = f"This installation has {MAX_TOKEN_KINDS} kinds of device tokens."
            raise Conflict(faults=[Fault("too_many", "/kind", detail)]) from None
        if not registered:
            raise installation_retired()
        return web.Response(status=204)

    async def withdraw_token(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/installation/device-token/`: 204, and the device token of `?kind=` (or apns) is withdrawn."""
        copy = (await self._copies.authenticate_copy(request)).installation
        kind = token_kind_in_query(request.query.get("kind", "apns"))
        await self._device_tokens.withdraw_token(copy.app_id, copy.installation_id, kind, self._clock.now())
        return web.Response(status=204)

    # --- aliases of the copy's customer, if the app permits its copies to change them ---

    async def attach_alias(self, request: web.Request) -> web.Response:
        """`POST /v1.0/installation/aliases/`: 201 and the alias; 200 if the customer had it before."""
        copy = await self._copy_with_aliases(request)
        body = convert(await read_json(request), AliasBody)
        attached = await self._aliases.attach_alias(copy.app_id, copy.customer_identifier, body, None)
        return answer_attached(attached)

    async def list_aliases(self, request: web.Request) -> web.Response:
        """`GET /v1.0/installation/aliases/`: 200 and the aliases, oldest first, without the addresses."""
        copy = await self._copy_with_aliases(request)
        return answer_aliases(await self._aliases.list_aliases(copy.app_id, copy.customer_identifier))

    async def remove_alias(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/installation/aliases/{alias_id}/`: 204, and the alias is removed."""
        copy = await self._copy_with_aliases(request)
        alias_id = uuid_in_path(request.match_info["alias_id"])
        await self._aliases.remove_alias(copy.app_id, copy.customer_identifier, alias_id, None)
        return web.Response(status=204)

    async def _copy_with_aliases(self, request: web.Request) -> Installation:
        """Return the calling copy. Raises Forbidden unless its app permits copies to change aliases."""
        copy = (await self._copies.authenticate_copy(request)).installation
        if not await self._aliases.may_copies_attach(copy.app_id):
            raise Forbidden(
                "Copies of this app may not change aliases. Its publisher can allow it, with "
                'PATCH /v1.0/apps/{app_id}/ and {"installations_attach_aliases": true}.'
            )
        return copy
