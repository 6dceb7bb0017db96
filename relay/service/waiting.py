"""`Prefer: wait=N` (RFC 7240): an answer that has the outcome, if there is one within N seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol
from uuid import UUID

from relay.core.errors import Unavailable
from relay.service.report import report_push
from relay.store.database import Database
from relay.store.push.reports import PushReportRepository

PREFER, APPLIED = "Prefer", "Preference-Applied"
LONGEST = 60
_PREFERENCE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
"""What stands between two commas, if those are not in quotes."""
_WAIT = re.compile(r'wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?', re.IGNORECASE | re.ASCII | re.DOTALL)


class CompletionWatch(Protocol):
    """Knows when pushes have ended."""

    async def ended(self, app_id: str, push_id: UUID, seconds: float) -> bool:
        """Whether that push ends within so many seconds. Returns as soon as it has."""


def seconds_to_wait(values: Iterable[str]) -> int | None:
    """How long the caller prefers to wait, at most 60; None if it did not say. Other preferences are not looked at.

    One that cannot be read is ignored, as RFC 7240 has it, and of several the first counts.
    """
    for value in values:
        for preference in _PREFERENCE.findall(value):
            if found := _WAIT.fullmatch(preference.strip()):
                return min(LONGEST, int(found[1] or found[2]))
    return None


class Waiting:
    """Waits for a push to end, and shows it."""

    def __init__(self, database: Database, watch: CompletionWatch) -> None:
        self._pushes = PushReportRepository(database)
        self._watch = watch

    async def outcome(self, app_id: str, push_id: UUID, seconds: float) -> dict[str, Any] | None:
        """The push as `GET /v1.0/pushes/{push_id}/` shows it, or None if it has not ended in time."""
        if not await self._watch.ended(app_id, push_id, seconds):
            return None
        try:
            push = await self._pushes.find_push([app_id], push_id)
            return None if push is None else await report_push(self._pushes, push)
        except Unavailable:  # it was accepted, and that is what counts
            return None
