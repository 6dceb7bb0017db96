"""The operator's page of credentials: how each is doing, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.console.renderer import Pages, context_of
from relay.console.sessions import OperatorVisitor, form_as, operator_page, read_form
from relay.core.accounts import CredentialState
from relay.core.clock import Clock
from relay.core.delivery.reasons import BAD_CREDENTIAL
from relay.core.errors import Invalid
from relay.core.schema import number_in_path
from relay.service.credentials import CredentialBody, CredentialService
from relay.store.accounts.credentials import BY_OPERATOR, NO_CREDENTIAL, CredentialDescription
from relay.store.database import Database
from relay.store.operations.queue_state import QueueStateRepository

_MOST = 500
"""Credentials on the page: one a team, nearly always."""
_REASONS = {
    "InvalidProviderToken": "Apple does not accept the key: it was revoked, or it is not this team's.",
    "BadEnvironmentKeyIdInToken": "The key is not for this environment.",
    "MissingProviderToken": "Apple wants a key here and got a certificate.",
    "BadCertificate": "Apple does not accept the certificate.",
    "BadCertificateEnvironment": "The certificate is not for this environment.",
    BAD_CREDENTIAL: "The stored key or certificate cannot be used: replace it.",
    BY_OPERATOR: "An operator suspended it.",
}
"""Why a credential is suspended (core/delivery/reasons.py), in words of use to who has to mend it."""


class CredentialPages:
    """`/console/credentials/`."""

    def __init__(
        self,
        pages: Pages,
        database: Database,
        credentials: CredentialService,
        clock: Clock,
    ) -> None:
        self._pages = pages
        self._database = database
        self._credentials = credentials
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        one = "credentials/{credential_id}/"
        yield operator_page("GET", "credentials/", self.list)
        yield operator_page("POST", "credentials/", self.put)
        yield operator_page("POST", f"{one}resume/", self.resume)
        yield operator_page("POST", f"{one}suspend/", self.suspend)

    async def list(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """All credentials: those that are suspended first."""
        return await self._list(request)

    async def _list(self, request: web.Request, status: int = 200, **more: Any) -> web.Response:
        now = self._clock.now()
        found = await self._credentials.list_credentials(None, _MOST)
        held = {
            one.credential_id: one.batches
            for one in (await QueueStateRepository(self._database).read_queue_state(now)).by_credential
        }
        context = {
            "credentials": sorted(found, key=_by_trouble),
            "held": held,
            "without": held.get(NO_CREDENTIAL, 0),
            "reasons": _REASONS,
            "now": now,
            "form": {},
            **more,
        }
        return self._pages.render(request, "credentials.html", status, section="credentials", **context)

    async def put(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Store a credential, or replace the one of the same team, environment and bundle: it is active then."""
        form = await read_form(request)
        try:
            stored = await self._credentials.put_credential(form_as(form, CredentialBody), visitor.actor)
        except Invalid as error:
            kept = {name: text for name, text in form.items() if name not in ("p8", "certificate")}
            return await self._list(request, error.status, **context_of(error, kept))
        done = "replaced" if stored.version > 1 else "stored"
        return self._pages.redirect(request, "credentials/", f"The credential of {stored.team_id} is {done}.")

    async def resume(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Make it active, and due what waited for it."""
        credential_id = number_in_path(request.match_info["credential_id"])
        await self._credentials.resume_credential(credential_id, visitor.actor)
        return self._pages.redirect(
            request, "credentials/", f"Credential {credential_id} is active, and what waited for it is due."
        )

    async def suspend(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Let what needs it wait."""
        credential_id = number_in_path(request.match_info["credential_id"])
        await self._credentials.suspend_credential(credential_id, visitor.actor)
        return self._pages.redirect(
            request, "credentials/", f"Credential {credential_id} is suspended: its pushes wait."
        )


def _by_trouble(credential: CredentialDescription) -> tuple[bool, str, str, str]:
    active = credential.state == CredentialState.ACTIVE
    return active, credential.team_id, credential.environment, credential.bundle_id
