"""Reports about a push: its state, counts by outcome and reason, and traces of listed test devices.

A report holds no device token, no UDID and no customer reference.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import asyncpg

from relay.core.delivery.outcomes import Outcome, PushState
from relay.store.database import Connection
from relay.store.push import pushes


async def report_push(connection: Connection, push: asyncpg.Record) -> dict[str, Any]:
    """Return the state, counts and reasons of a push, as `GET /v1.0/pushes/{push_id}/` answers them."""
    counts = Counter[str](dict.fromkeys(Outcome, 0))
    reasons: Counter[str] = Counter()
    for outcome, reason, count in await pushes.counts(connection, push["app_id"], push["push_id"]):
        counts[outcome] += count
        if outcome != Outcome.DELIVERED:
            reasons[reason] += count
    done = sum(counts.values())
    pending = max(0, push["targets"] - done)
    if push["cancelled_at"] is not None:
        state = PushState.CANCELLED
    elif pending or push["growing"]:
        state = PushState.SENDING if done else PushState.QUEUED
    else:
        state = PushState.DONE
    return {
        "push_id": push["push_id"],
        "app_id": push["app_id"],
        "state": state,
        "created_at": push["created_at"],
        "expires_at": push["expires_at"],
        "cancelled_at": push["cancelled_at"],
        "push_type": push["push_type"],
        "priority": push["priority"],
        "expiration": push["expiration"],
        "collapse_id": push["collapse_id"],
        "debug": push["debug"],
        "targets": push["targets"],
        "counting": push["growing"],
        "counts": {**counts, "pending": pending, "skipped": push["skipped"]},
        "reasons": dict(reasons),
    }


async def report_traces(connection: Connection, push: asyncpg.Record) -> list[dict[str, Any]]:
    """Return the traces of a push by installation and attempt, as `GET /v1.0/pushes/{push_id}/trace/` answers them."""
    items = []
    for row in await pushes.traces(connection, push["app_id"], push["push_id"]):
        record = json.loads(row["record"])
        record["payload"] = json.loads(record["payload"])
        route = {"customer": row["customer"], "device": row["device"], "alongside": row["alongside"]}
        items.append({"attempt": row["attempt"], "route": route, **record})
    return items
