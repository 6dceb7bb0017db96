"""Sessions of the console.

The cookie holds a random session id and its signature. The session itself is a row in the database.
"""

from __future__ import annotations

import hashlib

from aiohttp import web
from itsdangerous import BadSignature, Signer

from relay.console.cookies import ConsoleCookies
from relay.console.visitors import OperatorVisitor, PublisherVisitor, set_visitor
from relay.core.clock import Clock, Random
from relay.store.accounts.api_tokens import ManageToken, OperatorToken
from relay.store.accounts.console_sessions import SESSION_IDLE_LIMIT, ConsoleSessionRepository
from relay.store.accounts.token_cache import TokenCache

SESSION_COOKIE = "push_relay_console"
_SESSION_ID_BYTES = 32


class Sessions:
    """The start, recognition and end of sessions.

    `secret_keys`, oldest to newest, sign the cookie: the newest signs, all are accepted.
    """

    def __init__(
        self,
        repository: ConsoleSessionRepository,
        token_cache: TokenCache,
        cookies: ConsoleCookies,
        secret_keys: tuple[str, ...],
        clock: Clock,
        random: Random,
    ) -> None:
        self._repository = repository
        self._token_cache = token_cache
        self._cookies = cookies
        self._id_signer = _signer(secret_keys, "session")
        self._csrf_signer = _signer(secret_keys, "csrf")
        self._clock = clock
        self._random = random

    async def recognise_visitor(self, request: web.Request) -> None:
        """Find the visitor of a request by its cookie; `visitor_of` returns it from then on."""
        session_id = self._session_id(request)
        token = session_id and await self._repository.find_session_token(session_id, self._clock.now())
        if session_id and token:
            csrf_token = self._csrf_signer.get_signature(session_id).decode()
            if isinstance(token, OperatorToken):
                set_visitor(request, OperatorVisitor(token, csrf_token))
            elif isinstance(token, ManageToken):
                set_visitor(request, PublisherVisitor(token, csrf_token))

    async def start_session(self, request: web.Request, token_text: str) -> str | None:
        """Start a session for an API token and return its id. A session that the browser had before ends.

        Returns None if the token does not open the console.
        """
        token = await self._token_cache.authenticate_token(token_text)
        if not isinstance(token, ManageToken | OperatorToken):
            return None
        await self.end_session(request)
        session_id = self._random(_SESSION_ID_BYTES).hex()
        await self._repository.begin_session(session_id, token.token_id, self._clock.now())
        return session_id

    async def end_session(self, request: web.Request) -> None:
        """End the session of a request, if it has one."""
        session_id = self._session_id(request)
        if session_id:
            await self._repository.end_session(session_id)

    def set_session_cookie(self, request: web.Request, response: web.StreamResponse, session_id: str) -> None:
        """Give the browser the signed id of a session."""
        value = self._id_signer.sign(session_id).decode()
        self._cookies.set_cookie(
            request, response, SESSION_COOKIE, value, int(SESSION_IDLE_LIMIT.total_seconds())
        )

    def delete_session_cookie(self, response: web.StreamResponse) -> None:
        """Tell the browser to drop its session id."""
        self._cookies.delete_cookie(response, SESSION_COOKIE)

    def _session_id(self, request: web.Request) -> str | None:
        try:
            return self._id_signer.unsign(request.cookies.get(SESSION_COOKIE, "")).decode()
        except (BadSignature, UnicodeError):
            return None


def _signer(secret_keys: tuple[str, ...], purpose: str) -> Signer:
    return Signer(
        list(secret_keys),
        salt=f"push-relay.console.{purpose}",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
