"""Reports about a push: its state, counts by outcome and reason, and traces of listed test devices.

A report holds no device token, no UDID and no customer reference.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from relay.core.delivery.outcomes import Outcome, PushState
from relay.store.push.records import StoredPush
from relay.store.push.reports import PushReportRepository


async def report_push(pushes: PushReportRepository, push: StoredPush) -> dict[str, Any]:
    """Return the state, counts and reasons of a push, as `GET /v1.0/pushes/{push_id}/` answers them."""
    counts = Counter[str](dict.fromkeys(Outcome, 0))
    reasons: Counter[str] = Counter()
    for outcome, reason, count in await pushes.count_outcomes(push.app_id, push.push_id):
        counts[outcome] += count
        if outcome is not Outcome.DELIVERED:
            reasons[reason] += count
    done = sum(counts.values())
    pending = max(0, push.targets - done)
    if push.cancelled_at is not None:
        state = PushState.CANCELLED
    elif pending or push.growing:
        state = PushState.SENDING if done else PushState.QUEUED
    else:
        state = PushState.DONE
    return {
        "push_id": push.push_id,
        "app_id": push.app_id,
        "state": state,
        "created_at": push.created_at,
        "expires_at": push.expires_at,
        "cancelled_at": push.cancelled_at,
        "push_type": push.push_type,
        "priority": push.priority,
        "expiration": push.expiration,
        "collapse_id": push.collapse_id,
        "debug": push.debug,
        "targets": push.targets,
        "counting": push.growing,
        "counts": {**counts, "pending": pending, "skipped": push.skipped},
        "reasons": dict(reasons),
    }


async def report_traces(pushes: PushReportRepository, push: StoredPush) -> list[dict[str, Any]]:
    """Return the traces of a push by installation and attempt, as `GET /v1.0/pushes/{push_id}/trace/` answers them."""
    items = []
    for trace in await pushes.list_traces(push.app_id, push.push_id):
        record = json.loads(trace.record)
        record["payload"] = json.loads(record["payload"])
        route = {"customer": trace.customer, "device": trace.device, "alongside": trace.alongside}
        items.append({"attempt": trace.attempt, "route": route, **record})
    return items
