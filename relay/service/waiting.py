"""`Prefer: wait=N` (RFC 7240): the report of a push that completes within N seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol
from uuid import UUID

from relay.core.errors import Unavailable
from relay.service.report import report_push
from relay.store.database import Database
from relay.store.push.reports import PushReportRepository

PREFER, PREFERENCE_APPLIED = "Prefer", "Preference-Applied"
MAX_WAIT_SECONDS = 60
_PREFERENCE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
"""The text between two commas that are not in quotes."""
_WAIT = re.compile(r'wait\s*=\s*(?:(\d{1,9})|"(\d{1,9})")\s*(?:;.*)?', re.IGNORECASE | re.ASCII | re.DOTALL)


class CompletionWatch(Protocol):
    """The source of news about completed pushes."""

    async def wait_for_end(self, app_id: str, push_id: UUID, seconds: float) -> bool:
        """Return True as soon as the push has completed, or False after `seconds`."""


def seconds_to_wait(values: Iterable[str]) -> int | None:
    """Return the seconds of the first `wait` preference in `Prefer` headers, at most `MAX_WAIT_SECONDS`.

    Returns None if there is none. As RFC 7240 asks, preferences that are unknown or malformed are ignored.
    """
    for value in values:
        for preference in _PREFERENCE.findall(value):
            if match := _WAIT.fullmatch(preference.strip()):
                return min(MAX_WAIT_SECONDS, int(match[1] or match[2]))
    return None


class OutcomeWaiter:
    """Reports of pushes, as soon as they are complete."""

    def __init__(self, database: Database, watch: CompletionWatch) -> None:
        self._pushes = PushReportRepository(database)
        self._watch = watch

    async def wait_for_report(self, app_id: str, push_id: UUID, seconds: float) -> dict[str, Any] | None:
        """Return the report of a push as soon as it is complete, or None after `seconds`."""
        if not await self._watch.wait_for_end(app_id, push_id, seconds):
            return None
        try:
            push = await self._pushes.find_push([app_id], push_id)
            return None if push is None else await report_push(self._pushes, push)
        except Unavailable:  # the push is accepted: its caller must not take this for a failure
            return None
