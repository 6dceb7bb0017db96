"""`/v1.0/operator/credentials/`: the credentials for APNs. No answer holds a secret."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.core.schema import convert, number_in_path
from relay.http.authentication import authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.credentials import CredentialBody, CredentialService
from relay.store.accounts.api_tokens import OperatorToken
from relay.store.accounts.credentials import CredentialDescription


class CredentialsApi:
    """Endpoints of the operator for credentials."""

    def __init__(self, credentials: CredentialService) -> None:
        self._credentials = credentials

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        base = "/v1.0/operator/credentials/"
        yield from route("POST", base, self.put_credential)
        yield from route("GET", base, self.list_credentials)
        yield from route("POST", f"{base}{{credential_id}}/resume/", self.resume_credential)
        yield from route("POST", f"{base}{{credential_id}}/suspend/", self.suspend_credential)
        yield from route("DELETE", f"{base}{{credential_id}}/", self.remove_credential)

    async def put_credential(self, request: web.Request) -> web.Response:
        """`POST /v1.0/operator/credentials/`: 201 and the credential.

        It replaces the one of its team, environment and bundle id.
        """
        actor = (await authenticate(request, OperatorToken)).actor
        body = convert(await read_json(request), CredentialBody)
        return answer(_show_credential(await self._credentials.put_credential(body, actor)), 201)

    async def list_credentials(self, request: web.Request) -> web.Response:
        """`GET /v1.0/operator/credentials/`: 200 and a page of credentials, oldest first."""
        await authenticate(request, OperatorToken)
        page = page_request(request, number_in_path)
        credentials = await self._credentials.list_credentials(page.after, page.one_more)
        return page_answer(page, credentials, lambda item: item.credential_id, _show_credential)

    async def resume_credential(self, request: web.Request) -> web.Response:
        """`POST /v1.0/operator/credentials/{credential_id}/resume/`: 204, and its batches are due."""
        actor = (await authenticate(request, OperatorToken)).actor
        await self._credentials.resume_credential(_credential_id(request), actor)
        return web.Response(status=204)

    async def suspend_credential(self, request: web.Request) -> web.Response:
        """`POST /v1.0/operator/credentials/{credential_id}/suspend/`: 204, and its batches wait."""
        actor = (await authenticate(request, OperatorToken)).actor
        await self._credentials.suspend_credential(_credential_id(request), actor)
        return web.Response(status=204)

    async def remove_credential(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/operator/credentials/{credential_id}/`: 204, and the credential is deleted."""
        actor = (await authenticate(request, OperatorToken)).actor
        await self._credentials.remove_credential(_credential_id(request), actor)
        return web.Response(status=204)


def _credential_id(request: web.Request) -> int:
    return number_in_path(request.match_info["credential_id"])


def _show_credential(credential: CredentialDescription) -> dict[str, Any]:
    fields = dataclasses.asdict(credential)
    return {"id": fields.pop("credential_id"), **fields}
