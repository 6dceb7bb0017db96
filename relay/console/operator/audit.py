"""The audit log, filtered by action, actor, publisher and subject."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from aiohttp import web

from relay.console.resources import PageResources
from relay.console.routes import operator_route
from relay.console.visitors import OperatorVisitor
from relay.core.errors import NotFound
from relay.core.schema import number_in_path, uuid_in_path
from relay.store.operations.audit import AuditAction, AuditFilter, AuditRepository

_ENTRIES_PER_PAGE = 50
_ACTORS = ("operator", "publisher", "relay")


class AuditPages:
    """`/console/audit/`."""

    def __init__(self, resources: PageResources) -> None:
        self._renderer = resources.renderer
        self._log = AuditRepository(resources.database)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the route with its handler."""
        yield operator_route("GET", "audit/", self.list_entries)

    async def list_entries(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """List the entries that match the filter, newest first. An unknown action or actor matches none."""
        query = request.query
        faults: dict[str, str] = {}
        publisher_id: UUID | None = None
        if text := query.get("publisher", "").strip():
            try:
                publisher_id = uuid_in_path(text)
            except NotFound:
                faults["publisher"] = "This is not the id of a publisher."
        audit_filter = AuditFilter(
            action=query.get("action") or None,
            actor=query.get("actor") or None,
            subject=query.get("subject", "").replace("\0", "").strip() or None,
            publisher_id=publisher_id,
        )
        cursor = query.get("cursor")
        page = await self._log.search_entries(
            audit_filter, number_in_path(cursor) if cursor else None, _ENTRIES_PER_PAGE
        )
        next_query = (
            str(request.rel_url.update_query(cursor=str(page.older)).query_string) if page.older else ""
        )
        return self._renderer.render_page(
            request,
            "audit.html",
            section="audit",
            entries=page.entries,
            next_query=next_query,
            is_filtered=audit_filter != AuditFilter(),
            query=query,
            faults=faults,
            actions=[action.value for action in AuditAction],
            actors=_ACTORS,
        )
