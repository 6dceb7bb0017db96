"""Webhooks of a publisher's apps: made, listed, removed and tested with a manage_ token.

What belongs to another publisher is not found. Where a URL may lead is core/webhooks.py's rule, and checked again
whenever something is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
from aiohttp import web

from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, Invalid, NotFound, TooManyRequests
from relay.core.ids import new_id
from relay.core.rate_limit import RateLimit
from relay.core.schema import WebhookUrl, app_id_in_path, convert, uuid_in_path
from relay.core.webhooks.messages import TEST_EVENT, Attempt, EventType, Receivers, encode_message
from relay.core.webhooks.signatures import new_webhook_secret
from relay.core.webhooks.urls import UrlRefused, check_url
from relay.http.pagination import page_answer, page_request
from relay.http.requests import answer, authenticate, read_json, route
from relay.store.accounts.registry import PublisherRepository
from relay.store.database import Database
from relay.store.encryption import UndecryptableSecret
from relay.store.operations.audit import Actor
from relay.store.webhooks.webhooks import MOST, NewWebhook, WebhookDescription, WebhookRepository

_TESTS_PER_SECOND, _TESTS = 0.2, 10
"""Tests with one token: they let the relay connect to where the caller wants, while the caller waits."""


class WebhookBody(msgspec.Struct, forbid_unknown_fields=True):
    """A webhook that is to be made."""

    url: WebhookUrl
    events: Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=10)]

    def checked(self, app_id: str, now: datetime, random: Random, *, allow_private: bool) -> NewWebhook:
        """The webhook of that app, with a secret of its own. Raises Invalid naming the field."""
        try:
            check_url(self.url, allow_private=allow_private)
        except UrlRefused as error:
            raise Invalid(faults=[Fault("invalid_value", "/url", str(error))]) from None
        return NewWebhook(
            app_id, new_id(now, random), self.url, sorted(set(self.events)), new_webhook_secret(random)
        )


class Tested(NamedTuple):
    """What became of a test message."""

    message_id: str
    attempt: Attempt


class WebhookTests:
    """Sends test messages, as many with one API token as do no harm."""

    def __init__(
        self, webhooks: WebhookRepository, receivers: Receivers, clock: Clock, random: Random
    ) -> None:
        self._webhooks = webhooks
        self._receivers = receivers
        self._clock = clock
        self._random = random
        self._rate = RateLimit(_TESTS_PER_SECOND, _TESTS)

    async def run(
        self, app_id: str, webhook_id: UUID, publisher_id: UUID, token_id: UUID, actor: Actor
    ) -> Tested:
        """Send a message to a webhook of that publisher's app now, once, and note what became of it.

        Raises NotFound, TooManyRequests, or Conflict if the secret cannot be read.
        """
        now = self._clock.now()
        message_id = str(new_id(now, self._random))
        try:
            to = await self._webhooks.find(app_id, webhook_id)
        except UndecryptableSecret:
            raise Conflict("The relay cannot read the webhook's secret: make another webhook.") from None
        if to is None:
            raise no_webhook()
        self._limit(token_id)
        body = encode_message(TEST_EVENT, now, {"app_id": app_id, "webhook_id": webhook_id})
        attempt = await self._receivers.send(to.url, to.secret, message_id, body, now)
        await self._webhooks.tested(app_id, webhook_id, attempt, publisher_id, self._clock.now(), actor)
        return Tested(message_id, attempt)

    def _limit(self, token_id: UUID) -> None:
        allowance = self._rate.take(token_id, asyncio.get_running_loop().time())
        if not allowance.allowed:
            headers = {"Retry-After": str(allowance.retry_after)}
            raise TooManyRequests("This token tests too often.", headers=headers)


class _OwnApp(NamedTuple):
    """The app of the path, and whose it is: the caller's."""

    app_id: str
    publisher_id: UUID
    token_id: UUID
    actor: Actor


class WebhooksApi:
    """`/v1.0/apps/{app_id}/webhooks/`. `secret_keys` encrypt the secrets, oldest to newest."""

    def __init__(
        self,
        database: Database,
        secret_keys: tuple[str, ...],
        receivers: Receivers,
        clock: Clock,
        random: Random,
        *,
        allow_private: bool,
    ) -> None:
        self._registry = PublisherRepository(database)
        self._webhooks = WebhookRepository(database, secret_keys)
        self.tests = WebhookTests(self._webhooks, receivers, clock, random)
        self._clock = clock
        self._random = random
        self._allow_private = allow_private

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield from route("POST", "/v1.0/apps/{app_id}/webhooks/", self.add_webhook)
        yield from route("GET", "/v1.0/apps/{app_id}/webhooks/", self.list_webhooks)
        yield from route("DELETE", "/v1.0/apps/{app_id}/webhooks/{webhook_id}/", self.remove_webhook)
        yield from route("POST", "/v1.0/apps/{app_id}/webhooks/{webhook_id}/test/", self.test_webhook)

    async def add_webhook(self, request: web.Request) -> web.Response:
        """201 {"id", "url", "events", "created_at", "secret"}: the secret, this once. 409 if there are ten already."""
        app = await self._own_app(request)
        body = convert(await read_json(request), WebhookBody)
        now = self._clock.now()
        new = body.checked(app.app_id, now, self._random, allow_private=self._allow_private)
        if not await self._webhooks.add(new, app.publisher_id, now, app.actor):
            raise too_many_webhooks()
        shown = {
            "id": new.webhook_id,
            "url": new.url,
            "events": new.events,
            "created_at": now,
            "secret": new.secret,
        }
        return answer(shown, 201)

    async def list_webhooks(self, request: web.Request) -> web.Response:
        """A page of the app's webhooks, oldest first, and how they are doing; without their secrets."""
        app = await self._own_app(request)
        page = page_request(request, uuid_in_path)
        webhooks = await self._webhooks.page(app.app_id, page.after, page.one_more)
        return page_answer(page, webhooks, lambda item: item.webhook_id, _show)

    async def remove_webhook(self, request: web.Request) -> web.Response:
        """204: nothing is sent to it any more, nor what waits."""
        app = await self._own_app(request)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        if not await self._webhooks.remove(
            app.app_id, webhook_id, app.publisher_id, self._clock.now(), app.actor
        ):
            raise no_webhook()
        return web.Response(status=204)

    async def test_webhook(self, request: web.Request) -> web.Response:
        """200 {"delivered", "status", "error", "message_id"}: what became of a message that was sent now, once."""
        app = await self._own_app(request)
        webhook_id = uuid_in_path(request.match_info["webhook_id"])
        message_id, attempt = await self.tests.run(
            app.app_id, webhook_id, app.publisher_id, app.token_id, app.actor
        )
        return answer(
            {
                "delivered": attempt.delivered,
                "status": attempt.status,
                "error": attempt.error or None,
                "message_id": message_id,
            }
        )

    async def _own_app(self, request: web.Request) -> _OwnApp:
        token = await authenticate(request, "manage")
        assert token.publisher_id is not None  # every manage_ token is stored with its publisher
        app_id = app_id_in_path(request.match_info["app_id"])
        if not await self._registry.owns(token.publisher_id, app_id):
            raise NotFound("There is no such app.")
        return _OwnApp(app_id, token.publisher_id, token.token_id, token.actor)


def no_webhook() -> NotFound:
    """There is none with that id, or it is another app's."""
    return NotFound("The app has no such webhook.")


def too_many_webhooks() -> Conflict:
    """There are as many as there may be."""
    return Conflict(f"The app has {MOST} webhooks already.")


def _show(webhook: WebhookDescription) -> dict[str, Any]:
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
