"""`/v1.0/validate/`: the check of a push, without sending it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from aiohttp import web

from relay.core.push.push_types import PUSH_TYPES
from relay.http.authentication import authenticate
from relay.http.requests import answer, read_json, route
from relay.service.reach import count_reach
from relay.service.sending import SendingServices
from relay.store.accounts.api_tokens import PushToken
from relay.store.database import Database


class ValidateApi:
    """The endpoint that checks a push as a send does. Nothing is stored, and the limit of pushes is not touched."""

    def __init__(self, sending: SendingServices, database: Database) -> None:
        self._check = sending.check
        self._rates = sending.validation_rates
        self._database = database

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("POST", "/v1.0/validate/", self.validate_push)

    async def validate_push(self, request: web.Request) -> web.Response:
        """`POST /v1.0/validate/`: 200 with push type, payload, number of targets, and warnings.

        A push that a send would refuse gets that refusal.
        """
        token = await authenticate(request, PushToken)
        headers = self._rates.count_request(token)
        checked = await self._check.check_push(await read_json(request), token)
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
