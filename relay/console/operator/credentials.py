"""The credentials of all teams: their health, and adding, replacing, suspending and resuming them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.console.forms import convert_form, read_form, refused_form_context
from relay.console.resources import PageResources
from relay.console.routes import operator_route
from relay.console.visitors import OperatorVisitor
from relay.core.accounts import CredentialState
from relay.core.delivery.reasons import BAD_CREDENTIAL
from relay.core.errors import Invalid
from relay.core.schema import number_in_path
from relay.service.credentials import CredentialBody, CredentialService
from relay.store.accounts.credentials import BY_OPERATOR, NO_CREDENTIAL, CredentialDescription
from relay.store.operations.queue_state import QueueStateRepository

_LIST = "credentials/"
_CREDENTIAL = f"{_LIST}{{credential_id}}/"
_MAX_CREDENTIALS = 500
"""Credentials on the page; most teams have one."""
_SECRET_FIELDS = ("p8", "certificate")
"""Fields that a refused form does not show again."""
_SUSPENSION_TEXTS = {
    "InvalidProviderToken": "Apple refuses the key: it was revoked, or it belongs to another team.",
    "BadEnvironmentKeyIdInToken": "The key is not valid for this environment.",
    "MissingProviderToken": "Apple expects a key here and got a certificate.",
    "BadCertificate": "Apple refuses the certificate.",
    "BadCertificateEnvironment": "The certificate is not valid for this environment.",
    BAD_CREDENTIAL: "The stored key or certificate cannot be used: replace it.",
    BY_OPERATOR: "An operator suspended it.",
}
"""Why a credential is suspended, for an operator, by the reason (relay/core/delivery/reasons.py)."""


class CredentialPages:
    """`/console/credentials/`."""

    def __init__(self, resources: PageResources, credentials: CredentialService) -> None:
        self._renderer = resources.renderer
        self._queue = QueueStateRepository(resources.database)
        self._credentials = credentials
        self._clock = resources.clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield operator_route("GET", _LIST, self.list_credentials)
        yield operator_route("POST", _LIST, self.put_credential)
        yield operator_route("POST", f"{_CREDENTIAL}resume/", self.resume_credential)
        yield operator_route("POST", f"{_CREDENTIAL}suspend/", self.suspend_credential)

    async def list_credentials(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """List all credentials, suspended ones first."""
        return await self._render_list(request)

    async def _render_list(self, request: web.Request, status: int = 200, **context: Any) -> web.Response:
        now = self._clock.now()
        credentials = await self._credentials.list_credentials(None, _MAX_CREDENTIALS)
        queue = await self._queue.read_queue_state(now)
        waiting_batches = {item.credential_id: item.batches for item in queue.by_credential}
        variables = {
            "credentials": sorted(credentials, key=_suspended_first),
            "waiting_batches": waiting_batches,
            "batches_without_credential": waiting_batches.get(NO_CREDENTIAL, 0),
            "suspension_texts": _SUSPENSION_TEXTS,
            "now": now,
            "form": {},
            **context,
        }
        return self._renderer.render_page(
            request, "credentials.html", status, section="credentials", **variables
        )

    async def put_credential(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Store a credential, or replace the one for the same team, environment and bundle. It is active then."""
        form = await read_form(request)
        try:
            body = convert_form(form, CredentialBody)
            stored = await self._credentials.put_credential(body, visitor.actor)
        except Invalid as refusal:
            shown_again = {name: text for name, text in form.items() if name not in _SECRET_FIELDS}
            return await self._render_list(
                request, refusal.status, **refused_form_context(refusal, shown_again)
            )
        verb = "replaced" if stored.version > 1 else "stored"
        return self._renderer.redirect(request, _LIST, f"The credential of {stored.team_id} was {verb}.")

    async def resume_credential(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Make a credential active, and the pushes that waited for it due."""
        credential_id = number_in_path(request.match_info["credential_id"])
        await self._credentials.resume_credential(credential_id, visitor.actor)
        return self._renderer.redirect(
            request, _LIST, f"Credential {credential_id} is active. Pushes that waited for it are sent now."
        )

    async def suspend_credential(self, request: web.Request, visitor: OperatorVisitor) -> web.StreamResponse:
        """Suspend a credential. Pushes that need it wait."""
        credential_id = number_in_path(request.match_info["credential_id"])
        await self._credentials.suspend_credential(credential_id, visitor.actor)
        return self._renderer.redirect(
            request, _LIST, f"Credential {credential_id} is suspended. Pushes that need it wait."
        )


def _suspended_first(credential: CredentialDescription) -> tuple[bool, str, str, str]:
    is_active = credential.state == CredentialState.ACTIVE
    return is_active, credential.team_id, credential.environment, credential.bundle_id
