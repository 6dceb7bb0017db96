"""Rows of webhooks and of messages to them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.ids import AppId
from relay.core.webhooks.health import Health
from relay.core.webhooks.messages import Attempt


class WebhookState(enum.StrEnum):
    """The states of a webhook, as the API names them."""

    ACTIVE = "active"
    """The last attempt succeeded, or there was none."""
    FAILING = "failing"
    """The last attempts failed. The webhook is tried less often."""
    DISABLED = "disabled"
    """All attempts failed for too long, or the receiver answered 410. Nothing is sent until a test succeeds."""


@dataclass(frozen=True, slots=True, repr=False)
class NewWebhook:
    """A checked webhook to be stored. `secret` is in clear."""

    app_id: str
    webhook_id: UUID
    url: str
    events: Sequence[str]
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WebhookDescription:
    """A webhook without its secret.

    `last_status` is the status of the last answer, None if there was no answer; `last_error` then says why. `given_up`
    counts the messages that were dropped undelivered, `waiting` those in the outbox.
    """

    app_id: str
    webhook_id: UUID
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    failing_since: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str
    given_up: int
    waiting: int

    @property
    def state(self) -> WebhookState:
        """Return whether messages are sent to it."""
        if self.disabled_at is not None:
            return WebhookState.DISABLED
        return WebhookState.FAILING if self.failures else WebhookState.ACTIVE


@dataclass(frozen=True, slots=True, repr=False)
class WebhookDestination:
    """The URL of a webhook, and the secret that signs its messages, in clear."""

    url: str
    secret: str


@dataclass(slots=True, repr=False)
class LeasedWebhook:
    """A webhook that only this node sends to. `secret` is None if none of the keys decrypts it."""

    app_id: AppId
    webhook_id: UUID
    publisher_id: UUID
    url: str
    secret: str | None
    health: Health


class DueMessage(NamedTuple):
    """A message that is due. `attempt` counts from 0, `body` is JSON."""

    event_id: int
    message_id: str
    attempt: int
    body: bytes


@dataclass(slots=True)
class RoundResult:
    """The results of messages that were sent at one time.

    `last` is the attempt that the webhook shows. `taken` are the ids of delivered events, `put_off` those of others
    with the time of their next attempt.
    """

    last: Attempt
    taken: list[int] = field(default_factory=list)
    put_off: list[tuple[int, datetime]] = field(default_factory=list)
