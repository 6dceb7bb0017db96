"""How the store tells the relay which copies it installed: one at a time, or up to a thousand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.core.accounts import Environment
from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, Invalid, NotFound
from relay.core.identifiers import Identifiers
from relay.core.install_tokens import InstallClaims, InstallTokens
from relay.core.schema import (
    Alongside,
    AppIdText,
    AppVersion,
    BundleId,
    CustomerReference,
    TeamId,
    Udid,
    UuidText,
    convert,
    uuid_in_path,
)
from relay.core.udid import UdidDigests
from relay.http.authentication import authenticate
from relay.http.requests import answer, read_json, route
from relay.store.accounts.api_tokens import OperatorToken
from relay.store.database import Database
from relay.store.installations.enrolment_rules import Enrolled, Enrolment, EnrolmentRefused
from relay.store.installations.enrolments import MAX_ENROLMENTS, EnrolmentRepository
from relay.store.installations.installations import InstallationRepository

MOST_FAULTS = 100
"""Faults of one bulk request that are told; the others come up when these are mended."""


class _Copy(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    app_id: AppIdText
    customer: CustomerReference
    udid: Udid
    alongside: Alongside = ""
    bundle_id: BundleId
    team_id: TeamId
    environment: Environment | None = None
    app_version: AppVersion = ""


class _BulkCopy(_Copy, kw_only=True):
    installation_uuid: UuidText


class _Bulk(msgspec.Struct, forbid_unknown_fields=True):
    installations: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MAX_ENROLMENTS)]


class OperatorInstallationsApi:
    """`/v1.0/operator/installations/`: every copy gets its install_ token, the same one for the same copy."""

    def __init__(
        self,
        database: Database,
        identifiers: Identifiers,
        install_tokens: InstallTokens,
        udid_digests: UdidDigests,
        clock: Clock,
        random: Random,
    ) -> None:
        self._enrolments = EnrolmentRepository(database, identifiers, random)
        self._installations = InstallationRepository(database)
        self._install_tokens = install_tokens
        self._udid_digests = udid_digests
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        base = "/v1.0/operator/installations/"
        yield from route("POST", base, self.put_many)
        yield from route("PUT", f"{base}{{installation_uuid}}/", self.put)
        yield from route("DELETE", f"{base}{{installation_uuid}}/", self.retire)

    async def put(self, request: web.Request) -> web.Response:
        """201 or 200 {"installation_uuid", "install_token"}; 409 where it contradicts what is stored."""
        actor = (await authenticate(request, OperatorToken)).actor
        installation_uuid = uuid_in_path(request.match_info["installation_uuid"])
        body = convert(await read_json(request), _Copy)
        try:
            [enrolled] = await self._enrolments.enrol_installations(
                [self._enrolment(body, installation_uuid)], self._clock.now(), actor
            )
        except EnrolmentRefused as refused:
            raise Conflict(faults=[fault for _, fault in refused.faults]) from None
        return answer(self._show(enrolled), 201 if enrolled.created else 200)

    async def put_many(self, request: web.Request) -> web.Response:
        """200 {"installations": [{"installation_uuid", "install_token"}, …]} by index; all or none."""
        actor = (await authenticate(request, OperatorToken)).actor
        body = convert(await read_json(request), _Bulk)
        copies, faults = [], []
        for index, item in enumerate(body.installations):
            try:
                copies.append(convert(item, _BulkCopy))
            except Invalid as error:
                faults += [_at(index, fault) for fault in error.faults]
        if faults:
            raise Invalid(faults=faults[:MOST_FAULTS])
        enrolments = [self._enrolment(copy, UUID(copy.installation_uuid)) for copy in copies]
        try:
            enrolled = await self._enrolments.enrol_installations(enrolments, self._clock.now(), actor)
        except EnrolmentRefused as refused:
            raise Conflict(faults=[_at(*fault) for fault in refused.faults[:MOST_FAULTS]]) from None
        return answer({"installations": [self._show(one) for one in enrolled]})

    async def retire(self, request: web.Request) -> web.Response:
        """204: the copy is retired, now or before. 404 if there never was one."""
        actor = (await authenticate(request, OperatorToken)).actor
        installation_uuid = uuid_in_path(request.match_info["installation_uuid"])
        if not await self._installations.retire_installation(installation_uuid, self._clock.now(), actor):
            raise NotFound("There is no such installation.")
        return web.Response(status=204)

    def _enrolment(self, copy: _Copy, installation_uuid: UUID) -> Enrolment:
        return Enrolment(
            installation_uuid=installation_uuid,
            app_id=copy.app_id,
            customer=copy.customer,
            udid_digest=self._udid_digests.digest_udid(copy.udid),
            alongside=copy.alongside,
            bundle_id=copy.bundle_id,
            team_id=copy.team_id,
            environment=copy.environment,
            app_version=copy.app_version,
        )

    def _show(self, enrolled: Enrolled) -> dict[str, Any]:
        claims = InstallClaims(enrolled.app_id, enrolled.installation_uuid, enrolled.serial)
        return {
            "installation_uuid": enrolled.installation_uuid,
            "install_token": self._install_tokens.sign_claims(claims),
        }


def _at(index: int, fault: Fault) -> Fault:
    return fault._replace(pointer=f"/installations/{index}{fault.pointer}")
