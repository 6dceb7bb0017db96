"""POST /v1.0/send/: where a push comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web

from relay.api import http
from relay.core import ids
from relay.core.accepting import (
    EVERYONE,
    Acceptor,
    DestinationCheck,
    Lifetimes,
    PushRequest,
    SendBody,
    check_destinations,
    check_headers,
    check_payload,
)
from relay.core.clock import Clock, Random
from relay.core.identifiers import Identifiers
from relay.core.rate import RateLimit
from relay.errors import Fault, Forbidden, Invalid, TooManyRequests
from relay.store.auth import ApiToken


class SendApi:
    """Checks a request at the door and hands it to the acceptor. What is wrong is refused before anything is stored."""

    def __init__(
        self,
        acceptor: Acceptor,
        identifiers: Identifiers,
        lifetimes: Lifetimes,
        rate_limit: RateLimit,
        clock: Clock,
        random: Random,
    ) -> None:
        self._acceptor = acceptor
        self._identifiers = identifiers
        self._lifetimes = lifetimes
        self._rate_limit = rate_limit
        self._policy = f'"pushes";q={rate_limit.burst};w={rate_limit.window}'
        self._clock = clock
        self._random = random

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield from http.route("POST", "/v1.0/send/", self.send)

    async def send(self, request: web.Request) -> web.Response:
        """Accept a push: 202 once it is durable."""
        token = await http.authenticate(request, "push")
        limits = self._take(token)
        body = http.convert(await http.read_json(request), SendBody)
        if body.app_id != token.app_id:
            raise Forbidden(
                "This token is of another app.", [Fault("forbidden", "/app_id", "Not this token's app.")]
            )
        now = self._clock.now()
        faults: list[Fault] = []
        try:
            push_type, headers, expires_at = check_headers(body, now, self._lifetimes)
        except Invalid as error:
            faults.extend(error.faults)
        try:
            payload = check_payload(body)
        except Invalid as error:
            faults.extend(error.faults)
        try:
            everyone = body.destinations == EVERYONE
            wanted = {} if everyone else check_destinations(body.destinations)
            check = DestinationCheck(self._identifiers, body.app_id, wanted)
            for _ in check.slices():
                await asyncio.sleep(0)
            check.finish()
        except Invalid as error:
            faults.extend(error.faults)
        if faults:
            raise Invalid("Nothing was sent.", faults)
        accepted = await self._acceptor.accept(
            PushRequest(
                app_id=body.app_id,
                push_id=ids.push_id(int(now.timestamp() * 1000), int.from_bytes(self._random(10), "big")),
                token_id=token.token_id,
                accepted_at=now,
                expires_at=expires_at,
                headers=headers,
                token_kind=push_type.token_kind,
                payload=payload.encoded,
                debug=body.debug or token.test_only,
                customers=check.customers,
                devices=list(check.devices),
                everyone=everyone,
                warnings=list(payload.warnings),
            )
        )
        return http.answer(
            {
                "success": True,
                "push_id": accepted.push_id,
                "targets": accepted.targets,
                "skipped": accepted.skipped,
                "warnings": [warning._asdict() for warning in accepted.warnings],
                "errors": [],
            },
            status=202,
            headers=limits,
        )

    def _take(self, token: ApiToken) -> dict[str, str]:
        """Count a request. Returns the headers that say what is left (draft-ietf-httpapi-ratelimit-headers).

        Raises TooManyRequests with the same headers. Time is the event loop's: nobody sets it.
        """
        allowance = self._rate_limit.take(token.token_id, asyncio.get_running_loop().time())
        headers = {
            "RateLimit-Policy": self._policy,
            "RateLimit": f'"pushes";r={allowance.remaining};t={allowance.reset}',
        }
        if not allowance.allowed:
            headers["Retry-After"] = str(allowance.retry_after)
            raise TooManyRequests("This token sends too many pushes; nothing was stored.", headers=headers)
        return headers
