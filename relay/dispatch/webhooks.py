"""Delivery of messages to webhooks: lease a webhook, send what is due in rounds, note what came of it.

Each webhook is a lane with a task of its own. One that takes what it gets is sent up to `_AT_ONCE` messages at a
time; one that doesn't gets a single one, after a pause that grows. Both kinds have places of their own on a node, so
the worst receivers there can be take nothing from the others, and nothing at all from the dispatch of pushes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

from relay.core.clock import Clock
from relay.core.delivery.retry import Backoff
from relay.core.errors import RelayError, describe_error
from relay.core.webhooks.health import Patience
from relay.core.webhooks.messages import Attempt, Receivers
from relay.dispatch import push_log as following
from relay.dispatch.work_loop import WorkLoop
from relay.settings import WebhooksSettings
from relay.store.webhooks.records import DueMessage, LeasedWebhook, RoundResult
from relay.store.webhooks.webhook_queue import WebhookQueueRepository
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import WEBHOOK_MESSAGES

_log = get_logger(__name__)
_AT_ONCE = 8
"""Messages that are on their way to one webhook."""
_HEALTHY, _FAILING = 32, 32
"""Webhooks that a node sends to at the same time, of each kind."""
_POLL = 1.0
"""Seconds between two looks at the outbox: how late what another node wrote is noticed at most."""
_NOTING = 15.0
"""Seconds of a lease beside the time that a round of messages may take: for writing what came of it."""
_UNREADABLE = Attempt(None, "The relay cannot read the webhook's secret.")


class WebhookDispatcher:
    """Sends to webhooks what the outbox holds. `spread` gives random numbers from 0 to 1."""

    def __init__(
        self,
        queue: WebhookQueueRepository,
        receivers: Receivers,
        clock: Clock,
        settings: WebhooksSettings,
        spread: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._receivers = receivers
        self._clock = clock
        self._settings = settings
        self._spread = spread
        self._patience = Patience(
            Backoff(settings.retry_first, settings.retry_longest), timedelta(seconds=settings.disable_after)
        )
        self._lease = timedelta(seconds=settings.timeout + _NOTING)
        self._turns = WorkLoop("messages to webhooks cannot be read", self._claim, _POLL)
        self._lanes: dict[asyncio.Task[None], bool] = {}
        """The tasks, and whether their webhook was failing when it was leased."""

    async def run(self) -> None:
        """Work until `aclose()`. A database that is away is waited for."""
        await self._turns.run()

    def wake(self) -> None:
        """There may be a message."""
        self._turns.wake()

    async def trim(self) -> None:
        """Give up what is too old or too much. Raises Unavailable."""
        oldest = self._clock.now() - timedelta(seconds=self._settings.keep)
        await self._queue.drop_old_messages(oldest, self._settings.waiting)

    async def aclose(self, patience: float) -> None:
        """Let what is on its way end within `patience` seconds, and hand the webhooks back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._turns.stop()
                if self._lanes:
                    await asyncio.wait(self._lanes)
        for task in self._lanes:
            task.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        with contextlib.suppress(RelayError, TimeoutError):
            async with asyncio.timeout(patience):
                await self._queue.release_webhooks()

    async def _claim(self) -> bool:
        failing = sum(self._lanes.values())
        healthy_room, failing_room = _HEALTHY - (len(self._lanes) - failing), _FAILING - failing
        if healthy_room <= 0 and failing_room <= 0:
            return False
        now = self._clock.now()
        claimed = await self._queue.lease_webhooks(
            now, now + self._lease, max(0, healthy_room), max(0, failing_room)
        )
        for webhook in claimed:
            task = asyncio.create_task(self._serve(webhook))
            self._lanes[task] = webhook.health.failures > 0
            task.add_done_callback(self._leave)
        return bool(claimed)

    def _leave(self, task: asyncio.Task[None]) -> None:
        del self._lanes[task]
        self._turns.wake()  # there is room, and perhaps something came for it just before its lease was handed back

    async def _serve(self, webhook: LeasedWebhook) -> None:
        """Send rounds of messages until nothing is due, the webhook has to be left in peace, or the lease was lost.

        If it fails, the webhook comes back when its lease ends.
        """
        try:
            while not self._turns.stopping and await self._round(webhook):
                pass
        except Exception as error:
            _log.warning(
                "a webhook comes back when its lease ends",
                webhook_id=str(webhook.webhook_id),
                error=describe_error(error),
            )

    async def _round(self, webhook: LeasedWebhook) -> bool:
        """Whether there is another round."""
        limit = 1 if webhook.health.failures else _AT_ONCE
        due = await self._queue.read_due_messages(webhook, self._clock.now(), limit)
        if not due:
            await self._queue.release_webhook(webhook)
            return False
        attempts = await asyncio.gather(*(self._send(webhook, one) for one in due))
        now = self._clock.now()
        health = self._patience.next_health(webhook.health, attempts, now, self._spread())
        more = len(due) == limit and not (health.failures or self._turns.stopping)
        ended = self._ended(due, attempts)
        WEBHOOK_MESSAGES.labels("taken").inc(len(ended.taken))
        WEBHOOK_MESSAGES.labels("failed").inc(len(ended.put_off))
        owned = await self._queue.record_results(
            webhook, ended, health, now, now + self._lease if more else None
        )
        if health.disabled:
            _log.warning(
                "a webhook is disabled: its receiver takes nothing", webhook_id=str(webhook.webhook_id)
            )
        webhook.health = health
        return owned and more

    async def _send(self, webhook: LeasedWebhook, due: DueMessage) -> Attempt:
        if webhook.secret is None:
            return _UNREADABLE
        attempt = await self._receivers.send(
            webhook.url, webhook.secret, due.message_id, due.body, self._clock.now()
        )
        if following.is_followed():
            following.message_answered(due.message_id, due.attempt, attempt)
        return attempt

    def _ended(self, due: list[DueMessage], attempts: list[Attempt]) -> RoundResult:
        now = self._clock.now()
        ended = RoundResult(last=attempts[-1])
        for one, attempt in zip(due, attempts, strict=True):
            if attempt.delivered:
                ended.taken.append(one.event_id)
            else:
                ended.last = attempt
                ended.put_off.append(
                    (one.event_id, self._patience.next_due_at(one.attempt, now, self._spread()))
                )
        return ended
