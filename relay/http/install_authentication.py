"""Who calls with an install_ token: one installed copy, which acts for itself and can do nothing else."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from relay.core.errors import Unauthenticated
from relay.core.install_tokens import PREFIX, InstallTokens
from relay.http.requests import bearer, refuse_api_token
from relay.store.database import Database
from relay.store.installations.installations import Installation, InstallationRepository


class Caller(NamedTuple):
    """The copy, and the serial under which its token was made."""

    installation: Installation
    serial: int


class Copies:
    """Finds the copy that a request comes from."""

    def __init__(self, database: Database, install_tokens: InstallTokens) -> None:
        self._installations = InstallationRepository(database)
        self._install_tokens = install_tokens

    async def caller(self, request: web.Request) -> Caller:
        """The copy of the token. Raises Unauthenticated, or Forbidden for a token of another kind."""
        text = bearer(request)
        if not text.startswith(PREFIX):
            await refuse_api_token(request, "install")
            raise retired()
        claims = self._install_tokens.verify_token(text)
        if claims is None:
            raise retired()
        installation = await self._installations.find_installation(*claims)
        if installation is None:
            raise retired()
        return Caller(installation, claims.serial)


def retired() -> Unauthenticated:
    """The error of a token that does not hold, or not any more."""
    return Unauthenticated("The token is unknown, or its installation is retired or replaced.")
