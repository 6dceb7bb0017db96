"""`/v1.0/apps/{app_id}/webhooks/`: the webhooks of an app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.api.callers import AppOwners
from relay.core.schema import convert, uuid_in_path
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, read_json, route
from relay.service.webhooks import CreatedWebhook, WebhookBody, WebhookService
from relay.store.webhooks.records import WebhookDescription


class WebhooksApi:
    """Endpoints of a publisher for the webhooks of its apps."""

    def __init__(self, owners: AppOwners, webhooks: WebhookService) -> None:
        self._owners = owners
        self._webhooks = webhooks

    def routes(self) -> Iterable[web.RouteDef]:
        """Return all routes with their handlers."""
        base = "/v1.0/apps/{app_id}/webhooks/"
        yield from route("POST", base, self.create_webhook)
        yield from route("GET", base, self.list_webhooks)
        yield from route("DELETE", f"{base}{{webhook_id}}/", self.remove_webhook)
        yield from route("POST", f"{base}{{webhook_id}}/test/", self.test_webhook)

    async def create_webhook(self, request: web.Request) -> web.Response:
        """`POST /v1.0/apps/{app_id}/webhooks/`: 201 and the webhook with its `secret`, which is shown once.

        409 if the app has as many webhooks as it may have.
        """
        app_id, owner = await self._owners.authenticate_owner(request)
        body = convert(await read_json(request), WebhookBody)
        return answer(_show_created(await self._webhooks.create_webhook(app_id, owner, body)), 201)

    async def list_webhooks(self, request: web.Request) -> web.Response:
        """`GET /v1.0/apps/{app_id}/webhooks/`: 200 and a page of webhooks with their health, oldest first."""
        app_id, _ = await self._owners.authenticate_owner(request)
        page = page_request(request, uuid_in_path)
        webhooks = await self._webhooks.list_webhooks(app_id, page.after, page.one_more)
        return page_answer(page, webhooks, lambda webhook: webhook.webhook_id, _show_webhook)

    async def remove_webhook(self, request: web.Request) -> web.Response:
        """`DELETE /v1.0/apps/{app_id}/webhooks/{webhook_id}/`: 204, and its waiting messages are deleted."""
        app_id, owner = await self._owners.authenticate_owner(request)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        await self._webhooks.remove_webhook(app_id, webhook_id, owner)
        return web.Response(status=204)

    async def test_webhook(self, request: web.Request) -> web.Response:
        """`POST /v1.0/apps/{app_id}/webhooks/{webhook_id}/test/`: 200 and the result of one test message."""
        app_id, owner = await self._owners.authenticate_owner(request)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        message_id, attempt = await self._webhooks.test_webhook(app_id, webhook_id, owner)
        return answer(
            {
                "delivered": attempt.delivered,
                "status": attempt.status,
                "error": attempt.error or None,
                "message_id": message_id,
            }
        )


def _show_created(created: CreatedWebhook) -> dict[str, Any]:
    webhook, created_at = created
    return {
        "id": webhook.webhook_id,
        "url": webhook.url,
        "events": webhook.events,
        "created_at": created_at,
        "secret": webhook.secret,
    }


def _show_webhook(webhook: WebhookDescription) -> dict[str, Any]:
    return {
        "id": webhook.webhook_id,
        "url": webhook.url,
        "events": webhook.events,
        "state": webhook.state,
        "created_at": webhook.created_at,
        "disabled_at": webhook.disabled_at,
        "failures": webhook.failures,
        "failing_since": webhook.failing_since,
        "last_attempt_at": webhook.last_attempt_at,
        "last_status": webhook.last_status,
        "last_error": webhook.last_error or None,
        "waiting": webhook.waiting,
        "given_up": webhook.given_up,
    }
