"""The webhooks of an app: made with a secret that is shown once, tested, removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

from aiohttp import web

from relay.console.publisher.app_lookup import OwnApps, path_of
from relay.console.renderer import Pages, faults_of
from relay.console.sessions import PublisherVisitor, publisher_page, read_form
from relay.core.errors import Conflict, Invalid, RelayError, TooManyRequests
from relay.core.schema import convert, uuid_in_path
from relay.core.webhooks.messages import EventType
from relay.service.webhooks import WebhookBody, WebhookService, WebhookTest
from relay.store.accounts.apps import App
from relay.store.database import Database
from relay.store.webhooks.webhooks import MAX_WEBHOOKS_PER_APP

EVENTS: Final[Mapping[EventType, str]] = {
    EventType.PUSH_COMPLETED: "A push has come to its end: its counts.",
    EventType.DELIVERY_FAILED: "Copies that a push did not reach, and why.",
    EventType.DEVICE_UNREGISTERED: "Copies that are gone from their device.",
}
_LIST = "apps/{app_id}/webhooks/"


class WebhookPages:
    """`/console/apps/{app_id}/webhooks/`."""

    def __init__(self, pages: Pages, database: Database, webhooks: WebhookService) -> None:
        self._pages = pages
        self._own_apps = OwnApps(database)
        self._webhooks = webhooks

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield publisher_page("GET", _LIST, self.list_webhooks)
        yield publisher_page("POST", _LIST, self.create)
        yield publisher_page("POST", f"{_LIST}{{webhook_id}}/test/", self.test)
        yield publisher_page("POST", f"{_LIST}{{webhook_id}}/remove/", self.remove)

    async def list_webhooks(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """The app's webhooks and how they are doing, and the form for another one."""
        return await self._list(request, await self._own_apps.of(request, visitor))

    async def create(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Make a webhook and show its secret, this once."""
        app = await self._own_apps.of(request, visitor)
        form = await read_form(request)
        url, events = form.get("url", "").strip(), [event for event in EventType if event in form]
        try:
            body = convert({"url": url, "events": events}, WebhookBody)
            new, _ = await self._webhooks.create_webhook(app.app_id, visitor.caller, body)
        except (Invalid, Conflict) as refused:
            return await self._list(request, app, refused, url, events)
        return self._pages.render(
            request, "webhook_made.html", 201, section="webhooks", shown_app=app, new=new
        )

    async def test(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Send a test message, and say what became of it."""
        app = await self._own_apps.of(request, visitor)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        try:
            tested = await self._webhooks.test_webhook(app.app_id, webhook_id, visitor.caller)
        except (Conflict, TooManyRequests) as refused:
            return await self._list(request, app, refused)
        kind: Literal["good", "bad"] = "good" if tested.attempt.delivered else "bad"
        return self._pages.redirect(request, path_of(app, "webhooks/"), _said(tested), kind)

    async def remove(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Remove a webhook with what waits for it."""
        app = await self._own_apps.of(request, visitor)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        await self._webhooks.remove_webhook(app.app_id, webhook_id, visitor.caller)
        return self._pages.redirect(request, path_of(app, "webhooks/"), "The webhook was removed.")

    async def _list(
        self,
        request: web.Request,
        app: App,
        refused: RelayError | None = None,
        url: str = "",
        events: Collection[EventType] = tuple(EventType),
    ) -> web.StreamResponse:
        """`url` and `events` are what was chosen, and `refused` why that can't be."""
        return self._pages.render(
            request,
            "webhooks.html",
            refused.status if refused else 200,
            section="webhooks",
            shown_app=app,
            webhooks=await self._webhooks.list_webhooks(app.app_id, None, MAX_WEBHOOKS_PER_APP),
            most=MAX_WEBHOOKS_PER_APP,
            all_events=EVENTS,
            url=url,
            events=events,
            faults=faults_of(refused) if refused else {},
        )


def _said(tested: WebhookTest) -> str:
    if tested.attempt.delivered:
        return f"The test message arrived (status {tested.attempt.status})."
    if tested.attempt.status is not None:
        return f"The test message was not taken: the receiver answered {tested.attempt.status}."
    return f"The test message did not arrive: {tested.attempt.error}"
