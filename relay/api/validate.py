"""POST /v1.0/validate/: what a send would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from aiohttp import web

from relay.core.errors import Fault, Invalid
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import PushRequest
from relay.http import requests as http
from relay.service.rate_limits import Rates
from relay.service.validation import SendCheck
from relay.store.database import Database
from relay.store.push import broadcasts, pushes

MOST_COUNTED = 100_000
"""Copies of a push to everyone; beyond that they are not counted."""


class ValidateApi:
    """Checks a request as a send does, and says where it would go. Nothing is stored, and no push is counted."""

    def __init__(self, check: SendCheck, database: Database, rates: Rates) -> None:
        self._check = check
        self._database = database
        self._rates = rates

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield from http.route("POST", "/v1.0/validate/", self.validate)

    async def validate(self, request: web.Request) -> web.Response:
        """200 with push type, targets, payload and warnings; what a send would refuse is refused in the same way."""
        token = await http.authenticate(request, "push")
        headers = self._rates.take(token)
        checked = await self._check.check(await http.read_json(request), token)
        targets, skipped, warnings = await reached(self._database, checked)
        push_type = checked.headers.push_type
        return http.answer(
            {
                "success": True,
                "push_type": push_type,
                "targets": targets,
                "skipped": skipped,
                "payload": msgspec.Raw(checked.payload),
                "payload_bytes": len(checked.payload),
                "payload_limit": PUSH_TYPES[push_type].limit,
                "warnings": [warning._asdict() for warning in (*checked.warnings, *warnings)],
                "errors": [],
            },
            headers=headers,
        )


async def reached(database: Database, request: PushRequest) -> tuple[int | None, int | None, Sequence[Fault]]:
    """(targets, skipped, warnings) of a checked push. The first two are None if it goes to more than are counted.

    Raises Invalid if it has no recipients.
    """
    async with database.connection() as connection:
        if not request.everyone:
            [made] = await pushes.routes(connection, [request])
            if isinstance(made, Invalid):
                raise made
            return len(made.copies), made.skipped, made.warnings
        counted = await broadcasts.count(
            connection, request.app_id, request.token_kind, request.debug, MOST_COUNTED
        )
    return (*(counted or (None, None)), ())
