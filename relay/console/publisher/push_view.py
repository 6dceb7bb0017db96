"""A push as pages show it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from relay.console.publisher.outcome_bar import BarSegment, ReasonCount, explain_reasons, outcome_segments
from relay.console.publisher.timelines import Timeline, build_timelines
from relay.core.delivery.outcomes import PushState
from relay.service.report import report_push, report_traces
from relay.store.database import Database
from relay.store.push.reports import PushReportRepository

_OPEN_STATES = (PushState.QUEUED, PushState.SENDING)
_VERSION_BYTES = 8


@dataclass(frozen=True, slots=True)
class PushView:
    """A push with its progress, failures and timelines.

    `facts` is the push as the API shows it, without the text of its payload. `version` changes whenever the page would
    change. `is_open` is True while it may still change.
    """

    facts: dict[str, Any]
    segments: Sequence[BarSegment]
    reasons: Sequence[ReasonCount]
    timelines: Sequence[Timeline]
    version: str
    is_open: bool


async def load_push_view(database: Database, app_id: str, push_id: UUID) -> PushView | None:
    """Return the view of a push, or None if the app has no push with that id."""
    pushes = PushReportRepository(database)
    push = await pushes.find_push([app_id], push_id)
    if push is None:
        return None
    facts = await report_push(pushes, push)
    traces = await report_traces(pushes, push)
    shown = msgspec.json.encode([facts, [(trace["route"], trace["attempt"]) for trace in traces]])
    return PushView(
        facts,
        outcome_segments(facts["counts"]),
        explain_reasons(facts["reasons"]),
        build_timelines(traces),
        hashlib.blake2b(shown, digest_size=_VERSION_BYTES).hexdigest(),
        facts["state"] in _OPEN_STATES or facts["counts"]["pending"] > 0,
    )
