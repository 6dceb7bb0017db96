"""`/v1.0/audit/`: the audit log. The operator reads all of it, a publisher the entries about its own objects."""

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
    """The endpoint of the audit log."""

    def __init__(self, database: Database) -> None:
        self._log = AuditRepository(database)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        yield from route("GET", "/v1.0/audit/", self.list_entries)

    async def list_entries(self, request: web.Request) -> web.Response:
        """`GET /v1.0/audit/`: 200 and a page of entries, newest first."""
        token = await authenticate(request, ManageToken, OperatorToken)
        page = page_request(request, number_in_path)
        if isinstance(token, OperatorToken):
            entries = await self._log.list_entries(page.after, page.one_more)
        else:
            entries = await self._log.list_entries_of_publisher(token.publisher_id, page.after, page.one_more)
        return page_answer(page, entries, lambda entry: entry.audit_id, _show_entry)


def _show_entry(entry: LoggedEntry) -> dict[str, Any]:
    fields = dataclasses.asdict(entry)
    return {"id": fields.pop("audit_id"), **fields}
