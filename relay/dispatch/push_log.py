"""What the log says of pushes on their way, at level "debug", and the spans of batches.

So that one push can be followed: its request id leads to its push id, and that to the apns-ids by which Apple knows it.
Whoever calls these has asked before whether anybody wants to know: see `is_followed` and `Traces.on`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from uuid import UUID

from relay.core.delivery.plan import ClaimedBatch, SendJob
from relay.core.delivery.routing import Route
from relay.core.delivery.sending import DELIVERED, Answer
from relay.core.ids import ApnsIds
from relay.core.push.request import PushRequest
from relay.core.webhooks.messages import Attempt
from relay.store.push.records import Settlement
from relay.telemetry.logs import get_logger
from relay.telemetry.traces import Span, Traces

_log = get_logger(__name__)
_FEW = 10
"""So many apns-ids are named of a push or a batch."""


def is_followed() -> bool:
    """Whether the log takes lines about each push and each batch."""
    return _log.isEnabledFor(logging.DEBUG)


def stored(
    requests: Sequence[PushRequest], routes: Sequence[Route], batches: Sequence[list[ClaimedBatch] | None]
) -> None:
    """What a commit stored, and by which apns-ids Apple will know it."""
    for request, made, own in zip(requests, routes, batches, strict=True):
        if own is not None:
            _log.debug(
                "a push is stored",
                push_id=str(request.push_id),
                targets=len(made.targets),
                batches=len(own),
                apns_ids=ApnsIds(request.push_id).derive_all(list(islice(made.targets, _FEW))),
            )


def sent(legs: Sequence[SendJob]) -> None:
    """These go to Apple now."""
    for leg in legs:
        _log.debug("a batch is sent", **_about(leg), apns_ids=list(leg.send.apns_ids[:_FEW]))


def answered(part: SendJob) -> None:
    """What Apple said to a part of a batch."""
    answers = part.send.answers
    failures = [
        {"apns_id": apns_id, "status": answer.status, "reason": answer.reason}
        for apns_id, answer in zip(part.send.apns_ids, answers, strict=True)
        if answer is not None and answer is not DELIVERED and answer.status != 200
    ]
    _log.debug(
        "a batch is answered",
        **_about(part),
        delivered=len(answers) - len(failures) - answers.count(None),
        failed=len(failures),
        failures=failures[:_FEW],
    )


def channel_answered(push_id: UUID, credential_id: int, attempt: int, answer: Answer) -> None:
    """What Apple said to a push to a channel, whose apns-request-id is its push id."""
    _log.debug(
        "a push to a channel is answered",
        push_id=str(push_id),
        attempt=attempt,
        credential_id=credential_id,
        status=answer.status,
        reason=answer.reason,
    )


def message_answered(message_id: str, attempt: int, answer: Attempt) -> None:
    """What a publisher's server said to a message of a webhook."""
    _log.debug(
        "a message is answered",
        message_id=message_id,
        attempt=attempt,
        status=answer.status,
        error=answer.error,
    )


def settled(settlement: Settlement) -> None:
    """What was written."""
    for batch in settlement.ended:
        _log.debug("a batch is settled", push_id=str(batch.push_id), batch_id=batch.batch_id)
    for again in settlement.retries:
        _log.debug(
            "a part of a batch is due again",
            push_id=str(again.batch.push_id),
            batch_id=again.batch.batch_id,
            attempt=again.attempt,
            targets=len(again.installations),
            due_at=again.due_at.isoformat(),
            reason=again.reason,
        )


def begun(traces: Traces, legs: Sequence[SendJob]) -> list[Span]:
    """A span for each, in the trace of its push."""
    return [
        traces.batch(
            leg.batch.push_id,
            {f"push_relay.{name}": value for name, value in _about(leg).items() if value is not None},
        )
        for leg in legs
    ]


def ended(spans: Sequence[Span], legs: Sequence[SendJob]) -> None:
    """The legs of these spans have been answered, as far as they will be."""
    for span, leg in zip(spans, legs, strict=True):
        span.set_attribute("push_relay.delivered", leg.send.answers.count(DELIVERED))
        span.end()


def _about(leg: SendJob) -> dict[str, str | int | None]:
    return {
        "push_id": str(leg.batch.push_id),
        "batch_id": leg.batch.batch_id,
        "attempt": leg.batch.attempt,
        "targets": len(leg),
        "environment": leg.environment and str(leg.environment),
        "credential_id": leg.credential.credential_id if leg.credential else None,
    }
