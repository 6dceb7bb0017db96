"""The webhooks of an app: creation, with the secret shown once, test messages and removal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from aiohttp import web

from relay.console.forms import faults_by_field, read_form
from relay.console.paths import app_path
from relay.console.publisher.app_lookup import AppLookup
from relay.console.renderer import MessageKind
from relay.console.resources import PageResources
from relay.console.routes import publisher_route
from relay.console.visitors import PublisherVisitor
from relay.core.errors import Conflict, Invalid, RelayError, TooManyRequests
from relay.core.schema import convert, uuid_in_path
from relay.core.webhooks.messages import EventType
from relay.service.webhooks import WebhookBody, WebhookService, WebhookTest
from relay.store.accounts.apps import App
from relay.store.webhooks.webhooks import MAX_WEBHOOKS_PER_APP

EVENT_TEXTS: Final[Mapping[EventType, str]] = {
    EventType.PUSH_COMPLETED: "A push has completed: its counts.",
    EventType.DELIVERY_FAILED: "Copies that a push did not reach, and why.",
    EventType.DEVICE_UNREGISTERED: "Copies that are no longer on their device.",
}
_LIST = "apps/{app_id}/webhooks/"


class WebhookPages:
    """`/console/apps/{app_id}/webhooks/`."""

    def __init__(self, resources: PageResources, webhooks: WebhookService) -> None:
        self._renderer = resources.renderer
        self._app_lookup = AppLookup(resources.database)
        self._webhooks = webhooks

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield publisher_route("GET", _LIST, self.list_webhooks)
        yield publisher_route("POST", _LIST, self.create_webhook)
        yield publisher_route("POST", f"{_LIST}{{webhook_id}}/test/", self.send_test_message)
        yield publisher_route("POST", f"{_LIST}{{webhook_id}}/remove/", self.remove_webhook)

    async def list_webhooks(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """List the app's webhooks with their health, with a form for a new one."""
        return await self._render_list(request, await self._app_lookup.get_app(request, visitor))

    async def create_webhook(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Create a webhook and show its secret. Only this response holds it."""
        app = await self._app_lookup.get_app(request, visitor)
        form = await read_form(request)
        url = form.get("url", "").strip()
        events = [event for event in EventType if event in form]
        try:
            body = convert({"url": url, "events": events}, WebhookBody)
            new, _ = await self._webhooks.create_webhook(app.app_id, visitor.token, body)
        except (Invalid, Conflict) as refusal:
            return await self._render_list(request, app, refusal, url, events)
        return self._renderer.render_page(
            request, "webhook_created.html", 201, section="webhooks", shown_app=app, new=new
        )

    async def send_test_message(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Send a test message to a webhook and show whether it arrived."""
        app = await self._app_lookup.get_app(request, visitor)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        try:
            tested = await self._webhooks.test_webhook(app.app_id, webhook_id, visitor.token)
        except (Conflict, TooManyRequests) as refusal:
            return await self._render_list(request, app, refusal)
        kind: MessageKind = "good" if tested.attempt.delivered else "bad"
        return self._renderer.redirect(
            request, app_path(app.app_id, "webhooks/"), _test_result_text(tested), kind
        )

    async def remove_webhook(self, request: web.Request, visitor: PublisherVisitor) -> web.StreamResponse:
        """Remove a webhook and the messages that wait for it."""
        app = await self._app_lookup.get_app(request, visitor)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        await self._webhooks.remove_webhook(app.app_id, webhook_id, visitor.token)
        return self._renderer.redirect(request, app_path(app.app_id, "webhooks/"), "The webhook was removed.")

    async def _render_list(
        self,
        request: web.Request,
        app: App,
        refusal: RelayError | None = None,
        typed_url: str = "",
        chosen_events: Collection[EventType] = tuple(EventType),
    ) -> web.StreamResponse:
        """Render the list. `typed_url` and `chosen_events` fill the form again if `refusal` refused it."""
        return self._renderer.render_page(
            request,
            "webhooks.html",
            refusal.status if refusal else 200,
            section="webhooks",
            shown_app=app,
            webhooks=await self._webhooks.list_webhooks(app.app_id, None, MAX_WEBHOOKS_PER_APP),
            max_webhooks=MAX_WEBHOOKS_PER_APP,
            event_texts=EVENT_TEXTS,
            typed_url=typed_url,
            chosen_events=chosen_events,
            faults=faults_by_field(refusal) if refusal else {},
        )


def _test_result_text(tested: WebhookTest) -> str:
    if tested.attempt.delivered:
        return f"The test message arrived (status {tested.attempt.status})."
    if tested.attempt.status is not None:
        return f"The test message was refused: the receiver answered {tested.attempt.status}."
    return f"The test message did not arrive: {tested.attempt.error}"
