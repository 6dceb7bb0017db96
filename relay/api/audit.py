"""GET /v1.0/audit/: who did what. The operator reads all of it, a publisher what happened to its own things."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.core.schema import number_in_path
from relay.http.authentication import authenticate
from relay.http.pagination import page_answer, page_request
from relay.http.requests import route
from relay.store.accounts.api_tokens import ManageToken, OperatorToken
from relay.store.database import Database
from relay.store.operations.audit import AuditRepository, LoggedEntry


class AuditApi:
    """Reads the audit log."""

    def __init__(self, database: Database) -> None:
        self._log = AuditRepository(database)

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of this API."""
        yield from route("GET", "/v1.0/audit/", self.page)

    async def page(self, request: web.Request) -> web.Response:
        """A page of entries, newest first."""
        token = await authenticate(request, ManageToken, OperatorToken)
        page = page_request(request, number_in_path)
        if isinstance(token, OperatorToken):
            entries = await self._log.list_entries(page.after, page.one_more)
        else:
            entries = await self._log.list_entries_of_publisher(token.publisher_id, page.after, page.one_more)
        return page_answer(page, entries, lambda entry: entry.audit_id, _show)


def _show(entry: LoggedEntry) -> dict[str, Any]:
    shown = dataclasses.asdict(entry)
    return {"id": shown.pop("audit_id"), **shown}
