"""What follows from answers, seen over many pushes."""

from __future__ import annotations

from datetime import UTC, datetime

from relay.core.accounts import Environment
from relay.core.delivery.plan import SendJob, TargetGroup, plan_sends
from relay.core.delivery.retry import Backoff
from relay.core.delivery.sending import DELIVERED, Answer, Fate
from relay.dispatch.decisions import DecisionMaker
from tests.factories import make_batch, make_credential

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BAD_TOKEN = Answer(Fate.ANSWERED, 400, "BadDeviceToken")
CREDENTIAL = make_credential()


def answered(answer: Answer) -> SendJob:
    """A push to a single device, and its answer."""
    batch = make_batch(installations=[5])
    copies = TargetGroup("TEAM000001", Environment.PRODUCTION, [5], [bytes(32)], ["com.example"])
    [leg] = plan_sends([batch], [[copies]], lambda *_: (CREDENTIAL, 0), {}).lanes[1]
    leg.send.answers = [answer]
    return leg


def test_bad_tokens_among_many_deliveries_of_single_pushes_are_retired() -> None:
    judge = DecisionMaker(Backoff(1, 10), lambda: 0.5)
    for _ in range(30):
        for _ in range(20):
            judge.judge(answered(DELIVERED), NOW, NOW)
        assert judge.judge(answered(BAD_TOKEN), NOW, NOW).retirements
    assert not judge.alarms()


def test_when_nearly_all_tokens_are_bad_none_is_retired() -> None:
    judge = DecisionMaker(Backoff(1, 10), lambda: 0.5)
    for _ in range(30):
        last = judge.judge(answered(BAD_TOKEN), NOW, NOW)
    assert not last.retirements
    assert judge.alarms() == [1]
