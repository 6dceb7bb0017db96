"""Send jobs on their way to Apple, from the plan to decisions.

There is no task and no timer for a team. The sender calls back when the last push of an operation has ended; operations
that end in one turn of the event loop are decided together. What takes longer than `settle_interval` is settled in
parts: one timer looks at all operations that are under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from relay.core.clock import Clock
from relay.core.delivery.outcomes import Outcome
from relay.core.delivery.plan import SendJob
from relay.core.delivery.sending import Credential, Sender
from relay.core.errors import describe_error
from relay.dispatch import push_log
from relay.dispatch.decisions import DecisionMaker, Decisions
from relay.dispatch.fairness import Lanes
from relay.dispatch.settlement import Settler
from relay.store.push.records import MAX_SMALL_BATCH_SIZE, DeliveryOutcome
from relay.telemetry.logs import get_logger
from relay.telemetry.metrics import APNS_SECONDS
from relay.telemetry.traces import NO_TRACES, Traces

_log = get_logger(__name__)
_INTERNAL_ERROR = "InternalError"
"""The reason of an outcome that a fault of ours prevented."""
_SMALL_SIZE = 100
_SMALL_SEND, _BULK_SEND = APNS_SECONDS.labels("small"), APNS_SECONDS.labels("bulk")
"""How long operations take: those of up to `_SMALL_SIZE` pushes, and larger ones."""


class SendOperation:
    """Send jobs of one credential that were handed to the sender together."""

    __slots__ = ("began", "credential", "handle", "jobs", "left", "sent_at", "settled", "spans")

    def __init__(
        self, credential: Credential, jobs: Sequence[SendJob], sent_at: datetime, began: float
    ) -> None:
        self.credential = credential
        self.jobs = jobs
        self.sent_at = sent_at
        self.began = began
        self.left = sum(map(len, jobs))
        """Pushes that are not settled."""
        self.settled: list[set[int]] | None = None
        """For each job, the indexes that were settled before its end; None while nothing was."""
        self.handle: Any = None
        self.spans: list[Any] = []


class Sending:
    """Hands send jobs to the sender, and what their answers decide to the settler."""

    def __init__(
        self,
        sender: Sender,
        lanes: Lanes,
        decisions: DecisionMaker,
        settler: Settler,
        clock: Clock,
        *,
        settle_interval: float,
        suspend: Callable[[Credential, str, datetime], None],
        traces: Traces = NO_TRACES,
    ) -> None:
        self._sender = sender
        self._lanes = lanes
        self._decisions = decisions
        self._settler = settler
        self._clock = clock
        self._settle_interval = settle_interval
        self._suspend = suspend
        """Called with (credential, reason, time of sending) when Apple refuses a credential."""
        self._traces = traces
        self._under_way: dict[SendOperation, None] = {}
        self._ended: list[SendOperation] = []
        self._look: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, credential: Credential, jobs: Sequence[SendJob], now: datetime) -> None:
        """Send jobs that their lane has admitted. Returns at once."""
        loop = asyncio.get_running_loop()
        operation = SendOperation(credential, jobs, now, loop.time())
        self._under_way[operation] = None
        self._idle.clear()
        if self._look is None:
            self._look = loop.call_later(self._settle_interval, self._settle_parts)
        if self._traces.on:
            operation.spans = push_log.begun(self._traces, jobs)
        if push_log.is_followed():
            push_log.sent(jobs)
        operation.handle = self._sender.submit(
            credential,
            [job.send for job in jobs],
            lambda: self._note_end(operation),
            urgent=len(jobs[0].batch.installations) <= MAX_SMALL_BATCH_SIZE,
        )

    async def wait_until_idle(self) -> None:
        """Return when nothing is under way."""
        await self._idle.wait()

    def withdraw_all(self) -> None:
        """Take back what has not left, and settle what has been answered. The rest is left unsettled."""
        operations = list(self._under_way)
        for operation in operations:
            self._settle(operation, everything=False)
            self._sender.withdraw(operation.handle)
        for operation in operations:
            self._end(operation)
        self._ended.clear()

    def _note_end(self, operation: SendOperation) -> None:
        """Every answer of an operation is set. The sender calls this from the depths of a connection."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._settle_ended)
        self._ended.append(operation)

    def _settle_ended(self) -> None:
        ended, self._ended = self._ended, []
        now = asyncio.get_running_loop().time()
        for operation in ended:
            if operation in self._under_way:
                (_SMALL_SEND if operation.left <= _SMALL_SIZE else _BULK_SEND).observe(now - operation.began)
                self._settle(operation, everything=True)
                self._end(operation)

    def _end(self, operation: SendOperation) -> None:
        del self._under_way[operation]
        if operation.left:
            self._lanes.leave(operation.credential.credential_id, operation.left)
        if operation.spans:
            push_log.ended(operation.spans, operation.jobs)
        if not self._under_way:
            self._idle.set()

    def _settle_parts(self) -> None:
        """Settle what has been answered of operations that take long. Called every `settle_interval` seconds."""
        loop = asyncio.get_running_loop()
        before = loop.time() - self._settle_interval
        for operation in list(self._under_way):
            if operation.began > before:
                break  # in the order of their beginning: the others are younger
            self._settle(operation, everything=False)
        self._look = loop.call_later(self._settle_interval, self._settle_parts) if self._under_way else None

    def _settle(self, operation: SendOperation, *, everything: bool) -> None:
        """Decide what has been answered since the last look; at the end, all that is left."""
        now = self._clock.now()
        suspend = ""
        for number, job in enumerate(operation.jobs):
            part = _answered_part(operation, number, job, everything)
            if part is None:
                continue
            operation.left -= len(part)
            self._lanes.note_answers(operation.credential.credential_id, len(part), now)
            if push_log.is_followed():
                push_log.answered(part)
            decisions = self._decide(part, operation.sent_at, now)
            self._settler.add(decisions)
            suspend = suspend or decisions.suspend
        if suspend:
            self._suspend(operation.credential, suspend, operation.sent_at)

    def _decide(self, part: SendJob, sent_at: datetime, now: datetime) -> Decisions:
        """Decide on answers. A fault of ours ends that part only: as a retry it would be sent again and again."""
        try:
            return self._decisions.judge(part, sent_at, now)
        except Exception as error:
            _log.error("answers could not be judged", error=describe_error(error))
            return Decisions(
                [DeliveryOutcome(part.batch, Outcome.FAILED, 0, _INTERNAL_ERROR, part.installations)]
            )


def _answered_part(operation: SendOperation, number: int, job: SendJob, everything: bool) -> SendJob | None:
    """Return the part of a job that has been answered and not been settled, and note it as settled.

    At the end (`everything`) that is all that is left of it.
    """
    answers = job.send.answers
    open_count = 0 if everything else answers.count(None)
    if operation.settled is None:
        if everything:
            return job
        if open_count == len(answers):
            return None
        operation.settled = [set() for _ in operation.jobs]
    settled = operation.settled[number]
    if len(answers) - open_count == len(settled):
        return None
    indexes = [
        index
        for index, answer in enumerate(answers)
        if index not in settled and (everything or answer is not None)
    ]
    settled.update(indexes)
    return job if len(indexes) == len(answers) else job.pick(indexes)
