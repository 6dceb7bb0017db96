"""POST /v1.0/validate/: what a send would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from relay.core.push.push_types import PUSH_TYPES
from relay.http.authentication import authenticate
from relay.http.requests import answer, read_json, route
from relay.service.rate_limits import Rates
from relay.service.reach import count_reach
from relay.service.validation import SendCheck
from relay.store.accounts.api_tokens import PushToken
from relay.store.database import Database


class ValidateApi:
    """Checks a request as a send does, and says where it would go. Nothing is stored, and no push is counted."""

    def __init__(self, check: SendCheck, database: Database, rates: Rates) -> None:
        self._check = check
        self._database = database
        self._rates = rates

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield from route("POST", "/v1.0/validate/", self.validate)

    async def validate(self, request: web.Request) -> web.Response:
        """200 with push type, targets, payload and warnings; what a send would refuse is refused in the same way."""
        token = await authenticate(request, PushToken)
        headers = self._rates.take(token)
        checked = await self._check.check(await read_json(request), token)
        targets, skipped, warnings = await count_reach(self._database, checked)
        push_type = checked.headers.push_type
        return answer(
            {
                "success": True,
                "push_type": push_type,
                "targets": targets,
                "skipped": skipped,
                "payload": msgspec.Raw(checked.payload),
                "payload_bytes": len(checked.payload),
                "payload_limit": PUSH_TYPES[push_type].limit_bytes,
                "warnings": [warning._asdict() for warning in (*checked.warnings, *warnings)],
                "errors": [],
            },
            headers=headers,
        )
