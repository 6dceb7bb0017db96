"""The operator's page of the audit log: who did what, looked through by action, actor, publisher and subject."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from aiohttp import web

from relay.console.renderer import Pages
from relay.console.sessions import Visitor, operator_page
from relay.core.errors import NotFound
from relay.core.schema import number_in_path, uuid_in_path
from relay.store.database import Database
from relay.store.operations.audit import AuditAction, AuditFilter, AuditRepository

_PER_PAGE = 50
_ACTORS = ("operator", "publisher", "relay")


class AuditPages:
    """`/console/audit/`."""

    def __init__(self, pages: Pages, database: Database) -> None:
        self._pages = pages
        self._log = AuditRepository(database)

    def routes(self) -> Iterable[web.RouteDef]:
        """The route and its handler."""
        yield operator_page("GET", "audit/", self.list)

    async def list(self, request: web.Request, _: Visitor) -> web.StreamResponse:
        """A page of entries, newest first. What is not in a list of ours is looked for and not found."""
        query = request.query
        faults = {}
        publisher_id: UUID | None = None
        if text := query.get("publisher", "").strip():
            try:
                publisher_id = uuid_in_path(text)
            except NotFound:
                faults["publisher"] = "This is no publisher's id."
        wanted = AuditFilter(
            action=query.get("action") or None,
            actor=query.get("actor") or None,
            subject=query.get("subject", "").replace("\0", "").strip() or None,
            publisher_id=publisher_id,
        )
        cursor = query.get("cursor")
        page = await self._log.search_entries(wanted, number_in_path(cursor) if cursor else None, _PER_PAGE)
        more = str(request.rel_url.update_query(cursor=str(page.older)).query_string) if page.older else ""
        return self._pages.render(
            request,
            "audit.html",
            section="audit",
            entries=page.entries,
            more=more,
            filtered=wanted != AuditFilter(),
            query=query,
            faults=faults,
            actions=[action.value for action in AuditAction],
            actors=_ACTORS,
        )
