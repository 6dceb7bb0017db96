"""A push: how far it is, why something did not arrive, what happened at each test device, and the way to cancel it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from relay.console.publisher.app_lookup import OwnApps
from relay.console.publisher.timelines import WIDTH, Reason, Segment, TimeLine, bar, reasons, time_lines
from relay.console.renderer import Pages
from relay.console.sessions import PublisherVisitor, publisher_page
from relay.core.clock import Clock
from relay.core.delivery.outcomes import PushState
from relay.core.errors import NotFound
from relay.core.schema import uuid_in_path
from relay.service.report import report_push, report_traces
from relay.store.accounts.apps import App
from relay.store.database import Database
from relay.store.push.cancellation import CancellationRepository
from relay.store.push.reports import PushReportRepository


@dataclass(frozen=True, slots=True)
class PushView:
    """A push as it is drawn. `facts` are what the API tells of it; it says nothing of the payload's text.

    `version` changes with what is shown, `is_open` says that it may change still.
    """

    facts: dict[str, Any]
    bar: Sequence[Segment]
    reasons: Sequence[Reason]
    time_lines: Sequence[TimeLine]
    version: str
    is_open: bool


def push_path(app_id: str, push_id: UUID) -> str:
    """Where a push is, below `/console/`."""
    return f"apps/{app_id}/pushes/{push_id}/"


async def view_of(database: Database, app_id: str, push_id: UUID) -> PushView | None:
    """The push with that id, if it is one of that app."""
    pushes = PushReportRepository(database)
    push = await pushes.find_push([app_id], push_id)
    if push is None:
        return None
    facts = await report_push(pushes, push)
    traces = await report_traces(pushes, push)
    seen = msgspec.json.encode([facts, [(one["route"], one["attempt"]) for one in traces]])
    return PushView(
        facts,
        bar(facts["counts"]),
        reasons(facts["reasons"]),
        time_lines(traces),
        hashlib.blake2b(seen, digest_size=8).hexdigest(),
        facts["state"] in (PushState.QUEUED, PushState.SENDING) or facts["counts"]["pending"] > 0,
    )


class PushPages:
    """`/console/apps/{app_id}/pushes/{push_id}/`."""

    def __init__(self, pages: Pages, database: Database, clock: Clock) -> None:
        self._pages = pages
        self._database = database
        self._own_apps = OwnApps(database)
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """The pages of a push."""
        yield publisher_page("GET", "apps/{app_id}/pushes/{push_id}/", self.show)
        yield publisher_page("GET", "apps/{app_id}/pushes/{push_id}/state/", self.state)
        yield publisher_page("POST", "apps/{app_id}/pushes/{push_id}/cancel/", self.cancel)

    async def show(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """All of it."""
        app, push = await self._find(request, visitor)
        return self._pages.render(request, "push.html", 200, **_context(app, push, is_part=False))

    async def state(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """What changes while it is sent, for htmx. 204 if nothing has changed since `seen`."""
        app, push = await self._find(request, visitor)
        if request.query.get("seen") == push.version:
            return web.Response(status=204)
        return self._pages.render(request, "push_state.html", 200, **_context(app, push, is_part=True))

    async def cancel(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Begin nothing more of it."""
        app, push = await self._find(request, visitor)
        push_id = push.facts["push_id"]
        now, actor = self._clock.now(), visitor.actor
        await CancellationRepository(self._database).cancel_push(
            app.app_id, push_id, visitor.publisher_id, now, actor
        )
        path = push_path(app.app_id, push_id)
        return self._pages.redirect(
            request, path, "Nothing more of it is begun. What was under way ends as it ends."
        )

    async def _find(self, request: web.Request, visitor: PublisherVisitor) -> tuple[App, PushView]:
        app = await self._own_apps.of(request, visitor)
        push = await view_of(self._database, app.app_id, uuid_in_path(request.match_info["push_id"]))
        if push is None:
            raise NotFound("There is no such push.")
        return app, push


def _context(app: App, push: PushView, *, is_part: bool) -> dict[str, Any]:
    return {
        "section": "pushes",
        "shown_app": app,
        "app": app,
        "push": push,
        "bar_width": WIDTH,
        "is_part": is_part,
    }
