"""Webhooks of an app, as its publisher manages and tests them in the API and the console.

The rules for a URL are those of `core/webhooks/urls.py`. They are checked again whenever a message is sent.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

import msgspec

from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, Invalid, NotFound, TooManyRequests
from relay.core.ids import new_uuid7
from relay.core.rate_limit import RateLimit
from relay.core.schema import WebhookUrl
from relay.core.webhooks.messages import TEST_EVENT, Attempt, EventType, Receivers, encode_message
from relay.core.webhooks.signatures import new_webhook_secret
from relay.core.webhooks.urls import UrlRefused, check_url
from relay.store.accounts.api_tokens import ManageToken
from relay.store.encryption import UndecryptableSecret
from relay.store.webhooks.records import NewWebhook, WebhookDescription
from relay.store.webhooks.webhooks import MAX_WEBHOOKS_PER_APP, WebhookRepository

_TESTS_PER_SECOND = 0.2
_TEST_BURST = 10
"""Limits of tests per API token: a test connects to a URL of the caller's choice, and the caller waits for it."""


class WebhookBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a new webhook."""

    url: WebhookUrl
    events: Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=10)]


class CreatedWebhook(NamedTuple):
    """A new webhook with its secret, which is shown once."""

    webhook: NewWebhook
    created_at: datetime


class WebhookTest(NamedTuple):
    """A test message and the attempt to deliver it."""

    message_id: str
    attempt: Attempt


class WebhookService:
    """Creation, listing, removal and tests of webhooks. API and console share one, and with it the limit of tests.

    `allow_private` permits URLs that lead to private networks.
    """

    def __init__(
        self,
        webhooks: WebhookRepository,
        receivers: Receivers,
        clock: Clock,
        random: Random,
        *,
        allow_private: bool,
    ) -> None:
        self._webhooks = webhooks
        self._receivers = receivers
        self._clock = clock
        self._random = random
        self._allow_private = allow_private
        self._test_limit = RateLimit(_TESTS_PER_SECOND, _TEST_BURST)

    async def create_webhook(self, app_id: str, owner: ManageToken, body: WebhookBody) -> CreatedWebhook:
        """Store a webhook of the app, with a new secret.

        Raises:
            Invalid: the URL is not allowed.
            Conflict: the app has as many webhooks as it may have.
        """
        try:
            check_url(body.url, allow_private=self._allow_private)
        except UrlRefused as error:
            raise Invalid(faults=[Fault("invalid_value", "/url", str(error))]) from None
        now = self._clock.now()
        events = sorted(set(body.events))
        webhook = NewWebhook(
            app_id, new_uuid7(now, self._random), body.url, events, new_webhook_secret(self._random)
        )
        if not await self._webhooks.create_webhook(webhook, owner.publisher_id, now, owner.actor):
            raise Conflict(f"The app has {MAX_WEBHOOKS_PER_APP} webhooks already.")
        return CreatedWebhook(webhook, now)

    async def list_webhooks(self, app_id: str, after: UUID | None, limit: int) -> list[WebhookDescription]:
        """Return up to `limit` of the app's webhooks that follow `after`, oldest first, without secrets."""
        return await self._webhooks.list_webhooks(app_id, after, limit)

    async def remove_webhook(self, app_id: str, webhook_id: UUID, owner: ManageToken) -> None:
        """Remove a webhook of the app, with the messages that wait for it.

        Raises:
            NotFound: the app has no such webhook.
        """
        if not await self._webhooks.remove_webhook(
            app_id, webhook_id, owner.publisher_id, self._clock.now(), owner.actor
        ):
            raise _no_webhook()

    async def test_webhook(self, app_id: str, webhook_id: UUID, owner: ManageToken) -> WebhookTest:
        """Send a test message to a webhook of the app, once, and store the attempt.

        Raises:
            NotFound: the app has no such webhook.
            Conflict: the secret of the webhook cannot be decrypted.
            TooManyRequests: the token of `owner` has sent too many tests.
        """
        now = self._clock.now()
        message_id = str(new_uuid7(now, self._random))
        try:
            destination = await self._webhooks.find_destination(app_id, webhook_id)
        except UndecryptableSecret:
            raise Conflict("The relay cannot read the webhook's secret: make another webhook.") from None
        if destination is None:
            raise _no_webhook()
        self._take_test(owner.token_id)
        body = encode_message(TEST_EVENT, now, {"app_id": app_id, "webhook_id": webhook_id})
        attempt = await self._receivers.send(destination.url, destination.secret, message_id, body, now)
        await self._webhooks.record_test(
            app_id, webhook_id, attempt, owner.publisher_id, self._clock.now(), owner.actor
        )
        return WebhookTest(message_id, attempt)

    def _take_test(self, token_id: UUID) -> None:
        allowance = self._test_limit.count_request(token_id, asyncio.get_running_loop().time())
        if not allowance.allowed:
            headers = {"Retry-After": str(allowance.retry_after)}
            raise TooManyRequests("This token tests too often.", headers=headers)


def _no_webhook() -> NotFound:
    return NotFound("The app has no such webhook.")
