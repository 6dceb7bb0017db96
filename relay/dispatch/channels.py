"""Pushes to channels on their way to Apple: claim -> send -> judge -> settle; and channels to be deleted there.

One row is one of Apple's channels, so a push to millions of devices is a handful of requests.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from relay.core.channels import ChannelProvider
from relay.core.clock import Clock
from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.reasons import ReasonAction, decide, metric_label
from relay.core.delivery.retry import Backoff, next_attempt
from relay.core.delivery.sending import Answer, Credential, Fate
from relay.core.errors import RelayError, describe_error
from relay.dispatch import push_log as following
from relay.dispatch.credential_cache import CredentialCache
from relay.dispatch.work_loop import WorkLoop
from relay.settings import DispatchSettings
from relay.store.channels.apple_channels import AppleChannelRepository
from relay.store.channels.channel_pushes import ChannelPushRepository
from relay.store.channels.records import AppleChannel, ChannelDelivery, SettledChannelDelivery
from relay.store.database import Database
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import CHANNEL_DELIVERIES

_log = get_logger(__name__)
_MOST = 2000
"""Deliveries under way at once."""
_MOST_OF_ONE = 500
"""Of these with one credential: one that is stuck leaves room for the others."""
_MOST_REMOVALS = 20
_GIVE_UP = 200
"""Tries to delete a channel at Apple; with back-off they take two days. Without a credential there are none."""
_PAUSE = timedelta(seconds=1)
_NOT_REGISTERED = "ChannelNotRegistered"
_NOTHING_THERE = (_NOT_REGISTERED, "BadChannelId")
_PASSING = (ReasonAction.RETRY, ReasonAction.RETRY_SOON, ReasonAction.SUSPEND)


class ChannelDispatcher:
    """Works off what is due for channels, with this node's lease `owner`. `spread` gives random numbers from 0 to 1.

    `lease`, seconds: longer than a request may take.
    """

    def __init__(
        self,
        database: Database,
        credentials: CredentialCache,
        provider: ChannelProvider,
        clock: Clock,
        settings: DispatchSettings,
        owner: UUID,
        spread: Callable[[], float],
        *,
        lease: float,
    ) -> None:
        self._database = database
        self._pushes = ChannelPushRepository(database)
        self._apple_channels = AppleChannelRepository(database)
        self._credentials = credentials
        self._provider = provider
        self._clock = clock
        self._owner = owner
        self._backoff = Backoff(settings.retry_first, settings.retry_longest)
        self._spread = spread
        self._poll = settings.poll
        self._lease = timedelta(seconds=lease)
        self._turns = WorkLoop("the pushes to channels cannot be read", self._turn, settings.poll)
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[int] = Counter()
        """Deliveries by credential id."""

    async def run(self) -> None:
        """Work until `aclose()`. A database that is away is waited for."""
        await self._turns.run()

    def wake(self) -> None:
        """There may be work."""
        self._turns.wake()

    async def aclose(self, patience: float) -> None:
        """Claim nothing more, let what is under way end within `patience` seconds, hand back the rest."""
        try:
            async with asyncio.timeout(patience):
                await self._turns.stop()
                if self._tasks:
                    await asyncio.wait(self._tasks)
                await self._pushes.release_deliveries(self._owner, self._clock.now())
        except (RelayError, TimeoutError):
            _log.warning("pushes to channels come back when their lease ends")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _turn(self) -> bool:
        now = self._clock.now()
        room = _MOST - self._under_way.total()
        if room <= 0 or self._turns.stopping:
            return False
        lease_end = now + self._lease
        claimed = await self._pushes.lease_deliveries(self._owner, now, lease_end, min(room, _MOST_OF_ONE))
        removals = await self._apple_channels.lease_removals(now, lease_end, _MOST_REMOVALS)
        if claimed or removals:
            await self._begin(claimed, now)
        if removals:
            self._start(self._remove(removals))
        return bool(claimed or removals)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`. If it fails, what it was about comes back when its lease ends."""
        try:
            await work
        except Exception as error:
            _log.error("something about channels comes back when its lease ends", error=describe_error(error))

    # --- pushes ---

    async def _begin(self, claimed: Sequence[ChannelDelivery], now: datetime) -> None:
        """Send what can be sent, by credential; settle the rest."""
        topics = (delivery.channel.topic for delivery in claimed)
        credentials = await self._credentials.look_up((topic.team_id, topic.environment) for topic in topics)
        legs: dict[int, tuple[Credential, list[ChannelDelivery]]] = {}
        waiting: list[SettledChannelDelivery] = []
        for delivery in claimed:
            topic = delivery.channel.topic
            credential, held_by = credentials.choose(*topic)
            if delivery.expires_at <= now:
                waiting.append(
                    SettledChannelDelivery(delivery, delivery.attempt, None, Outcome.EXPIRED, 0, "Expired")
                )
            elif credential is None:
                reason = "CredentialSuspended" if held_by else "NoCredential"
                waiting.append(
                    self._again(delivery, ReasonAction.RETRY, Answer(Fate.NOT_SENT, 0, reason), now)
                )
            elif self._under_way[credential.credential_id] >= _MOST_OF_ONE:
                waiting.append(SettledChannelDelivery(delivery, delivery.attempt, now + _PAUSE, None, 0, ""))
            else:
                self._under_way[credential.credential_id] += 1
                legs.setdefault(credential.credential_id, (credential, []))[1].append(delivery)
        for credential, deliveries in legs.values():
            self._start(self._send(credential, deliveries))
        if waiting:
            await self._settle(waiting)

    async def _send(self, credential: Credential, deliveries: Sequence[ChannelDelivery]) -> None:
        sent_at = self._clock.now()
        try:
            answers = await asyncio.gather(*(self._push(credential, one) for one in deliveries))
        finally:
            self._under_way[credential.credential_id] -= len(deliveries)
        now = self._clock.now()
        answered = list(zip(deliveries, answers, strict=True))
        await self._settle(
            [self._judge(one, answer, now) for one, answer in answered],
            lost=[one.channel for one, answer in answered if answer.reason == _NOT_REGISTERED],
        )
        refused = next((one for one in answers if decide(one) is ReasonAction.SUSPEND), None)
        if refused is not None:
            await self._credentials.suspend(credential, refused.reason, sent_at)

    async def _push(self, credential: Credential, delivery: ChannelDelivery) -> Answer:
        channel = delivery.channel
        answer = await self._provider.broadcast(
            credential,
            channel.topic.bundle_id,
            channel.apns_channel_id,
            delivery.push_id,
            delivery.headers,
            delivery.payload,
        )
        if following.is_followed():
            following.channel_answered(delivery.push_id, credential.credential_id, delivery.attempt, answer)
        return answer

    def _judge(self, delivery: ChannelDelivery, answer: Answer, now: datetime) -> SettledChannelDelivery:
        action = decide(answer)
        if action in _PASSING:
            return self._again(delivery, action, answer, now)
        outcome = Outcome.DELIVERED if action is ReasonAction.DELIVERED else Outcome.FAILED
        return SettledChannelDelivery(delivery, delivery.attempt, None, outcome, answer.status, answer.reason)

    def _again(
        self, delivery: ChannelDelivery, action: ReasonAction, answer: Answer, now: datetime
    ) -> SettledChannelDelivery:
        due = next_attempt(action, delivery.attempt, now, delivery.expires_at, self._backoff, self._spread())
        if due is None:
            return SettledChannelDelivery(
                delivery, delivery.attempt, None, Outcome.EXPIRED, answer.status, answer.reason
            )
        return SettledChannelDelivery(delivery, delivery.attempt + 1, due, None, answer.status, answer.reason)

    async def _settle(
        self, settled: Sequence[SettledChannelDelivery], *, lost: Sequence[AppleChannel] = ()
    ) -> None:
        """Write what became of pushes. Channels that Apple lost go with it: the next copy that asks gets a new one."""
        async with self._database.transaction() as connection:
            await self._pushes.settle_deliveries(connection, self._owner, settled)
            if lost:
                await self._apple_channels.forget_apple_channels(connection, lost)
        ended = Counter((one.outcome, metric_label(one.reason)) for one in settled if one.outcome is not None)
        for labels, count in ended.items():
            CHANNEL_DELIVERIES.labels(*labels).inc(count)
        now = self._clock.now()
        soonest = min((one.due_at for one in settled if one.due_at is not None), default=None)
        if soonest is not None and soonest - now < timedelta(seconds=self._poll):
            seconds = max(0.0, (soonest - now).total_seconds())
            asyncio.get_running_loop().call_later(seconds + 0.005, self.wake)

    # --- channels to be deleted at Apple ---

    async def _remove(self, channels: Sequence[AppleChannel]) -> None:
        await asyncio.gather(*map(self._remove_one, channels))

    async def _remove_one(self, channel: AppleChannel) -> None:
        topic = channel.topic
        credentials = await self._credentials.look_up([(topic.team_id, topic.environment)])
        credential = credentials.choose(*topic).credential
        attempt, wait = channel.attempt, self._backoff.longest_seconds
        if credential is not None:  # else nothing is tried: it may be days until there is one that works
            attempt, wait = attempt + 1, self._backoff.wait_seconds(attempt, self._spread())
            if channel.attempt >= _GIVE_UP or await self._delete(credential, channel):
                async with self._database.connection() as connection:
                    await self._apple_channels.forget_apple_channels(connection, [channel])
                return
        due = self._clock.now() + timedelta(seconds=wait)
        await self._apple_channels.postpone_removal(channel, due, attempt)

    async def _delete(self, credential: Credential, channel: AppleChannel) -> bool:
        """Whether there is nothing to delete at Apple any more. Most other refusals are the configuration's."""
        sent_at = self._clock.now()
        answer = await self._provider.delete(credential, channel.topic.bundle_id, channel.apns_channel_id)
        if decide(answer) is ReasonAction.SUSPEND:
            await self._credentials.suspend(credential, answer.reason, sent_at)
        return answer.status == 204 or answer.reason in _NOTHING_THERE
