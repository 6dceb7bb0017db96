"""Answers -> what is written: outcomes, retries, retirements, traces. Synchronous; the writing comes after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from relay.core.accounts import Environment
from relay.core.delivery.bad_token_alarm import BadTokenAlarm
from relay.core.delivery.outcomes import FailureDomain, Outcome
from relay.core.delivery.plan import ClaimedBatch, SendJob
from relay.core.delivery.reasons import ReasonAction, decide, token_death
from relay.core.delivery.retry import Backoff, next_attempt
from relay.core.delivery.sending import DELIVERED, Answer, Fate
from relay.core.ids import InstallationId
from relay.store.push.records import DeliveryOutcome, Retry, TokenRetirement, Trace

_BAD_TOKEN = "BadDeviceToken"
_SUSPENDED, _NO_CREDENTIAL = "CredentialSuspended", "NoCredential"
_HELD = (_SUSPENDED, _NO_CREDENTIAL)
_LOOK_AGAIN = 2.0
"""Seconds: twice as long as what a node knows of the credentials may be old."""


@dataclass(slots=True)
class Decisions:
    """What one leg came to. `settled` counts its installations, all of them in `outcomes` or in `again`."""

    outcomes: list[DeliveryOutcome] = field(default_factory=list)
    again: list[Retry] = field(default_factory=list)
    retirements: list[TokenRetirement] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    suspend: str = ""
    """The reason for which the leg's credential is to be suspended, or ""."""


class DecisionMaker:
    """Applies the table of reasons to legs that have ended."""

    def __init__(self, backoff: Backoff, spread: Callable[[], float]) -> None:
        self._backoff = backoff
        self._spread = spread
        self._alarms: dict[int, BadTokenAlarm] = defaultdict(BadTokenAlarm)

    def alarms(self) -> list[int]:
        """The credentials for which BadDeviceToken answers have jumped."""
        return [credential_id for credential_id, alarm in self._alarms.items() if alarm.ringing]

    def judge(self, leg: SendJob, sent_at: datetime, now: datetime, *, simulated: bool = False) -> Decisions:
        """What follows from the answers of a leg. A simulated answer retires no token."""
        judged = Decisions()
        answers = leg.send.answers
        if leg.test_device is not None:
            judged.traces.append(_trace(leg, sent_at, now, simulated))
        delivered = answers.count(DELIVERED) == len(answers)  # nearly always: no look at each answer
        alarm = None if simulated or leg.credential is None else self._alarms[leg.credential.credential_id]
        if alarm is not None:
            alarm.count_answers(len(answers), 0 if delivered else _count_bad_tokens(answers))
        if delivered:
            judged.outcomes.append(_outcome(leg, Outcome.DELIVERED, DELIVERED, leg.installations))
            return judged
        alike: dict[Answer, list[int]] = defaultdict(list)
        for index, one in enumerate(answers):
            alike[one or _LOST].append(index)
        for answer, indexes in alike.items():
            action = decide(answer)
            ids = [leg.installations[index] for index in indexes]
            self._settle_alike(judged, leg, answer, action, ids, now)
            died_at = token_death(action, answer, sent_at=sent_at, environment=leg.environment)
            if died_at is None or simulated:
                continue
            if not (action is ReasonAction.RETIRE_BAD_TOKEN and alarm and alarm.ringing):
                judged.retirements += _retirements(leg, answer, indexes, died_at)
        return judged

    def _settle_alike(
        self,
        judged: Decisions,
        leg: SendJob,
        answer: Answer,
        action: ReasonAction,
        ids: list[InstallationId],
        now: datetime,
    ) -> None:
        if action is ReasonAction.DELIVERED:
            judged.outcomes.append(_outcome(leg, Outcome.DELIVERED, answer, ids))
        elif action is ReasonAction.SUSPEND and leg.credential is not None:
            judged.suspend = answer.reason
            judged.again.append(self.hold(leg.batch, leg.credential.credential_id, ids, now, tried=True))
        elif action in (ReasonAction.RETRY, ReasonAction.RETRY_SOON, ReasonAction.SUSPEND):
            self._again(judged, leg, answer, action, ids, now)
        elif action is ReasonAction.FAIL:
            judged.outcomes.append(_outcome(leg, Outcome.FAILED, answer, ids))
        else:
            unregistered = action is ReasonAction.RETIRE_UNREGISTERED
            judged.outcomes.append(
                _outcome(leg, Outcome.UNREGISTERED if unregistered else Outcome.FAILED, answer, ids)
            )

    def _again(
        self,
        judged: Decisions,
        leg: SendJob,
        answer: Answer,
        action: ReasonAction,
        ids: list[InstallationId],
        now: datetime,
    ) -> None:
        batch = leg.batch
        due = next_attempt(action, batch.attempt, now, batch.expires_at, self._backoff, self._spread())
        if due is None:
            judged.outcomes.append(_outcome(leg, Outcome.EXPIRED, answer, ids))
        else:
            judged.again.append(Retry(batch, batch.attempt + 1, due, None, answer.reason, ids))

    def hold(
        self,
        batch: ClaimedBatch,
        credential_id: int,
        installations: Sequence[int],
        now: datetime,
        *,
        tried: bool = False,
    ) -> Retry:
        """Keep installations until their credential works again, which makes them due.

        They are looked at once all the same, soon, for the case that it was made to work while this was written, and
        then seldom: many may be waiting.
        """
        wait = self._backoff.longest_seconds if batch.last_reason in _HELD else _LOOK_AGAIN + self._spread()
        due = min(now + timedelta(seconds=wait), batch.expires_at)
        reason = _SUSPENDED if credential_id else _NO_CREDENTIAL
        return Retry(batch, batch.attempt + tried, due, credential_id, reason, installations)


_LOST = Answer(Fate.UNKNOWN, 0, "NoAnswer")


def _count_bad_tokens(answers: Sequence[Answer | None]) -> int:
    return sum(1 for one in answers if one is not None and one.reason == _BAD_TOKEN)


def _outcome(leg: SendJob, outcome: Outcome, answer: Answer, ids: Sequence[int]) -> DeliveryOutcome:
    return DeliveryOutcome(leg.batch, outcome, answer.status, answer.reason, ids)


def _retirements(
    leg: SendJob, answer: Answer, indexes: list[int], died_at: datetime
) -> Iterator[TokenRetirement]:
    for index in indexes:
        token = bytes.fromhex(leg.send.device_tokens[index])
        yield TokenRetirement(leg.batch.app_id, leg.installations[index], token, answer.reason, died_at)


def _trace(leg: SendJob, sent_at: datetime, now: datetime, simulated: bool) -> Trace:
    """Everything about one attempt at one listed device, but never its device token."""
    batch = leg.batch
    answer = leg.send.answers[0] or _LOST
    environment = leg.environment or Environment.PRODUCTION
    label, failure_domain = leg.test_device or ("", FailureDomain.OK)
    headers = {
        "apns-id": leg.send.apns_ids[0],
        "apns-topic": leg.send.topics[0],
        "apns-push-type": batch.headers.push_type,
        "apns-priority": str(batch.headers.priority),
    }
    if batch.headers.expiration is not None:
        headers["apns-expiration"] = str(batch.headers.expiration)
    if batch.headers.collapse_id is not None:
        headers["apns-collapse-id"] = batch.headers.collapse_id
    record = {
        "label": label,
        "failure_domain": failure_domain,
        "simulated": simulated,
        "topic": leg.send.topics[0],
        "team_id": leg.team_id,
        "environment": environment,
        "environment_known": leg.environment is not None,
        "credential_kind": leg.credential.kind if leg.credential else None,
        "headers": headers,
        "payload": batch.payload.decode(),
        "answer": {
            "fate": answer.fate.value,
            "status": answer.status,
            "reason": answer.reason,
            "timestamp_ms": answer.timestamp_ms,
            "apns_unique_id": answer.unique_id,
        },
        "verdict": decide(answer).value,
        "accepted_at": batch.accepted_at,
        "sent_at": sent_at,
        "answered_at": now,
    }
    encoded = msgspec.json.encode(record).decode()
    return Trace(batch.app_id, batch.push_id, leg.installations[0], batch.attempt, encoded)
