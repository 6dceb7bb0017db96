"""`/v1.0/apps/{app_id}/tokens/`: the push tokens of an app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.api.callers import AppOwners
from relay.core.schema import convert, uuid_in_path
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.push_tokens import CreatedPushToken, PushTokenBody, PushTokenService
from relay.store.accounts.api_tokens import PushTokenDescription


class PushTokensApi:
    """Endpoints of a publisher for the push tokens of its apps."""

    def __init__(self, owners: AppOwners, push_tokens: PushTokenService) -> None:
        self._owners = owners
        self._push_tokens = push_tokens

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("POST", "/v1.0/apps/{app_id}/tokens/", self.create_token)
        yield from route("GET", "/v1.0/apps/{app_id}/tokens/", self.list_tokens)
        yield from route("DELETE", "/v1.0/apps/{app_id}/tokens/{token_id}/", self.revoke_token)

    async def create_token(self, request: web.Request) -> web.Response:
        """`POST /v1.0/apps/{app_id}/tokens/`: 201 and the new token, whose text is shown once."""
        app_id, owner = await self._owners.authenticate_owner(request)
        body = convert(await read_json(request), PushTokenBody)
        return answer(_show_created(await self._push_tokens.create_push_token(app_id, owner, body)), 201)

    async def list_tokens(self, request: web.Request) -> web.Response:
        """`GET /v1.0/apps/{app_id}/tokens/`: 200 and a page of tokens that are not revoked, oldest first.

        The texts of the tokens are not in it.
        """
        app_id, _ = await self._owners.authenticate_owner(request)
        page = page_request(request, uuid_in_path)
        tokens = await self._push_tokens.list_push_tokens(app_id, page.after, page.one_more)
        return page_answer(page, tokens, lambda token: token.token_id, _show_token)

    async def revoke_token(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/apps/{app_id}/tokens/{token_id}/`: 204, and the token is refused from now on."""
        app_id, owner = await self._owners.authenticate_owner(request)
        token_id = uuid_in_path(request.match_info["token_id"])
        await self._push_tokens.revoke_push_token(app_id, token_id, owner)
        return web.Response(status=204)


def _show_created(created: CreatedPushToken) -> dict[str, Any]:
    rights, issued = created
    return {
        "id": issued.token_id,
        "token": issued.text,
        "label": rights.label,
        "test_only": rights.test_only,
        "broadcast": rights.broadcast,
        "created_at": issued.created_at,
        "expires_at": rights.expires_at,
    }


def _show_token(token: PushTokenDescription) -> dict[str, Any]:
    return {
        "id": token.token_id,
        "label": token.label,
        "test_only": token.test_only,
        "broadcast": token.broadcast,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }
