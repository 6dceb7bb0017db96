"""`/v1.0/operator/installations/`: the copies that the store has installed, enrolled singly or in bulk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.core.accounts import Environment
from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, Invalid, NotFound
from relay.core.identifiers import Identifiers
from relay.core.ids import AppId
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

MAX_REPORTED_FAULTS = 100
"""Faults of a bulk request in its answer. Others appear once these are corrected."""


class _EnrolmentBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    app_id: AppIdText
    customer: CustomerReference
    udid: Udid
    alongside: Alongside = ""
    bundle_id: BundleId
    team_id: TeamId
    environment: Environment | None = None
    app_version: AppVersion = ""


class _BulkEnrolmentBody(_EnrolmentBody, kw_only=True):
    installation_uuid: UuidText


class _BulkBody(msgspec.Struct, forbid_unknown_fields=True):
    installations: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MAX_ENROLMENTS)]


@dataclass(frozen=True, slots=True)
class EnrolmentKeys:
    """The keyed functions of an enrolment: for identifiers, install tokens and digests of UDIDs."""

    identifiers: Identifiers
    install_tokens: InstallTokens
    udid_digests: UdidDigests


class OperatorInstallationsApi:
    """Endpoints of the operator for installations. A copy that is enrolled again gets its install token again."""

    def __init__(self, database: Database, keys: EnrolmentKeys, clock: Clock, random: Random) -> None:
        self._enrolments = EnrolmentRepository(database, keys.identifiers, random)
        self._installations = InstallationRepository(database)
        self._install_tokens = keys.install_tokens
        self._udid_digests = keys.udid_digests
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        base = "/v1.0/operator/installations/"
        yield from route("POST", base, self.enrol_installations)
        yield from route("PUT", f"{base}{{installation_uuid}}/", self.enrol_installation)
        yield from route("DELETE", f"{base}{{installation_uuid}}/", self.retire_installation)

    async def enrol_installation(self, request: web.Request) -> web.Response:
        """`PUT /v1.0/operator/installations/{installation_uuid}/`: 201 and the install token.

        200 if the installation was enrolled before; 409 if the body contradicts it.
        """
        actor = (await authenticate(request, OperatorToken)).actor
        installation_uuid = uuid_in_path(request.match_info["installation_uuid"])
        body = convert(await read_json(request), _EnrolmentBody)
        try:
            [enrolled] = await self._enrolments.enrol_installations(
                [self._enrolment(body, installation_uuid)], self._clock.now(), actor
            )
        except EnrolmentRefused as refused:
            raise Conflict(faults=[fault for _, fault in refused.faults]) from None
        return answer(self._show(enrolled), 201 if enrolled.created else 200)

    async def enrol_installations(self, request: web.Request) -> web.Response:
        """`POST /v1.0/operator/installations/`: 200 and the install tokens in order. Enrols all of them, or none."""
        actor = (await authenticate(request, OperatorToken)).actor
        body = convert(await read_json(request), _BulkBody)
        bodies, faults = [], []
        for index, item in enumerate(body.installations):
            try:
                bodies.append(convert(item, _BulkEnrolmentBody))
            except Invalid as error:
                faults += [_at(index, fault) for fault in error.faults]
        if faults:
            raise Invalid(faults=faults[:MAX_REPORTED_FAULTS])
        enrolments = [self._enrolment(copy, UUID(copy.installation_uuid)) for copy in bodies]
        try:
            enrolled = await self._enrolments.enrol_installations(enrolments, self._clock.now(), actor)
        except EnrolmentRefused as refused:
            raise Conflict(faults=[_at(*fault) for fault in refused.faults[:MAX_REPORTED_FAULTS]]) from None
        return answer({"installations": [self._show(enrolment) for enrolment in enrolled]})

    async def retire_installation(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/operator/installations/{installation_uuid}/`: 204, and the installation is retired.

        204 too if it was retired before; 404 if it was never enrolled.
        """
        actor = (await authenticate(request, OperatorToken)).actor
        installation_uuid = uuid_in_path(request.match_info["installation_uuid"])
        if not await self._installations.retire_installation(installation_uuid, self._clock.now(), actor):
            raise NotFound("There is no such installation.")
        return web.Response(status=204)

    def _enrolment(self, copy: _EnrolmentBody, installation_uuid: UUID) -> Enrolment:
        return Enrolment(
            installation_uuid=installation_uuid,
            app_id=AppId(copy.app_id),
            customer=copy.customer,
            udid_digest=self._udid_digests.digest_udid(copy.udid),
            alongside=copy.alongside,
            bundle_id=copy.bundle_id,
            team_id=copy.team_id,
            environment=copy.environment,
            app_version=copy.app_version,
        )

    def _show(self, enrolled: Enrolled) -> dict[str, Any]:
        claims = InstallClaims(AppId(enrolled.app_id), enrolled.installation_uuid, enrolled.serial)
        return {
            "installation_uuid": enrolled.installation_uuid,
            "install_token": self._install_tokens.sign_claims(claims),
        }


def _at(index: int, fault: Fault) -> Fault:
    return fault._replace(pointer=f"/installations/{index}{fault.pointer}")
