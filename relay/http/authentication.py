"""Authentication by bearer tokens: API tokens of publishers and the operator, install tokens of copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, overload
from uuid import UUID

from aiohttp import hdrs, web

from relay.core.errors import Forbidden, Unauthenticated
from relay.core.install_tokens import PREFIX, InstallTokens
from relay.store.accounts.api_tokens import ApiToken, ManageToken, OperatorToken, PushToken
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database
from relay.store.installations.installations import Installation, InstallationRepository

FirstToken = TypeVar("FirstToken", PushToken, ManageToken, OperatorToken)
SecondToken = TypeVar("SecondToken", PushToken, ManageToken, OperatorToken)

TOKEN_CACHE = web.AppKey("token_cache", TokenCache)
INSTALL_TOKENS = web.AppKey("install_tokens", InstallTokens)
"""`authenticate` needs both."""
TOKEN_ID = web.RequestKey("token_id", UUID)
"""The id of the API token that authenticated the request."""


@overload
async def authenticate(request: web.Request, accepted: type[FirstToken], /) -> FirstToken: ...


@overload
async def authenticate(
    request: web.Request, accepted: type[FirstToken], also: type[SecondToken], /
) -> FirstToken | SecondToken: ...


async def authenticate(
    request: web.Request, accepted: type[Any], also: type[Any] | None = None, /
) -> ApiToken:
    """Return the API token of the caller, which is of the type `accepted` or `also`.

    Raises:
        Unauthenticated: there is no token, or it is unknown, revoked or expired.
        Forbidden: the token is of another type.
    """
    return await _authenticate_kinds(request, [accepted.kind] if also is None else [accepted.kind, also.kind])


async def _authenticate_kinds(request: web.Request, kinds: Sequence[str]) -> ApiToken:
    text = bearer_of(request)
    token = await request.app[TOKEN_CACHE].authenticate_token(text)
    if token is None and request.app[INSTALL_TOKENS].verify_token(text) is not None:
        raise Forbidden(f"This needs a {' or '.join(kinds)} token, and this is an install token.")
    if token is None:
        raise Unauthenticated("The token is unknown, revoked or expired.")
    request[TOKEN_ID] = token.token_id
    if token.kind not in kinds:
        raise Forbidden(f"This needs a {' or '.join(kinds)} token, and this is a {token.kind} token.")
    return token


def bearer_of(request: web.Request) -> str:
    """Return the bearer token of the request (RFC 6750).

    Raises:
        Unauthenticated: there is none.
    """
    if text := parse_bearer(request.headers.get(hdrs.AUTHORIZATION, "")):
        return text
    raise Unauthenticated()


def parse_bearer(authorization: str) -> str:
    """Return the bearer token in the value of an Authorization header, "" if there is none."""
    scheme, _, text = authorization.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


class AuthenticatedCopy(NamedTuple):
    """The installation that calls, and the serial in its install token."""

    installation: Installation
    serial: int


class CopyAuthenticator:
    """Authentication of copies by their install tokens. A copy may act for its own installation only."""

    def __init__(self, database: Database, install_tokens: InstallTokens) -> None:
        self._installations = InstallationRepository(database)
        self._install_tokens = install_tokens

    async def authenticate_copy(self, request: web.Request) -> AuthenticatedCopy:
        """Return the installation of the request's install token.

        Raises:
            Unauthenticated: there is no token, or it is not valid, or its installation is retired or replaced.
            Forbidden: the token is an API token.
        """
        text = bearer_of(request)
        if not text.startswith(PREFIX):
            # For an API token this raises Forbidden, which names its kind.
            await _authenticate_kinds(request, ["install"])
            raise installation_retired()
        claims = self._install_tokens.verify_token(text)
        if claims is None:
            raise installation_retired()
        installation = await self._installations.find_installation(*claims)
        if installation is None:
            raise installation_retired()
        return AuthenticatedCopy(installation, claims.serial)


def installation_retired() -> Unauthenticated:
    """Return the error for an install token that is not valid, or not any more."""
    return Unauthenticated("The token is unknown, or its installation is retired or replaced.")
