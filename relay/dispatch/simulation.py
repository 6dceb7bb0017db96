"""Failure domains: a listed test device behaves as its publisher asked, in production, without Apple being asked.

The answer is played, and everything that follows from it is real (outcomes, retries, back-off), with one exception:
no device token is retired, because the device is well.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from relay.core.delivery.outcomes import FailureDomain
from relay.core.delivery.plan import SendJob
from relay.core.delivery.sending import DELIVERED, Answer, Fate
from relay.dispatch.decisions import DecisionMaker, Decisions
from relay.store.push.records import Retry

SLOW = timedelta(seconds=10)
"""How long a push to a `slow` device takes."""


def _says(status: int, reason: str) -> Answer:
    return Answer(Fate.ANSWERED, status, reason)


ANSWERS: dict[str, Answer] = {
    FailureDomain.UNREGISTERED: _says(410, "Unregistered"),
    FailureDomain.BAD_DEVICE_TOKEN: _says(400, "BadDeviceToken"),
    FailureDomain.THROTTLED: _says(429, "TooManyRequests"),
    FailureDomain.UNAVAILABLE: _says(503, "ServiceUnavailable"),
    FailureDomain.SLOW: DELIVERED,
}


def simulate(leg: SendJob, judge: DecisionMaker, now: datetime) -> Decisions:
    """What a leg to a listed device with a failure domain comes to."""
    assert leg.test_device is not None  # plan() simulates listed devices only
    domain = leg.test_device.failure_domain
    if domain == FailureDomain.SLOW and now < leg.batch.accepted_at + SLOW:
        due = min(leg.batch.accepted_at + SLOW, leg.batch.expires_at)
        return Decisions(again=[Retry(leg.batch, leg.batch.attempt, due, None, "", leg.installations)])
    leg.send.answers = [ANSWERS[domain]] * len(leg)
    return judge.judge(leg, now, now, simulated=True)
