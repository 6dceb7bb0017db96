"""How much of each app waits in the queue. Past a limit nothing more of that app is taken; nothing accepted is dropped.

So one publisher who floods, or whose credential is suspended, fills neither the disk nor the claim of the others. It is
counted now and then, with the commits of that app, and estimated between: an answer costs no query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.core.errors import Unavailable
from relay.store.database import Database
from relay.store.push.batches import BatchRepository

_AGE, _AGE_FULL = 5.0, 1.0
"""Seconds for which a count is good, and that of an app which is full: then one push is let in, and counted with."""


@dataclass(slots=True)
class _Waiting:
    counted: int
    counted_at: float
    since: int = 0
    """Batches stored here since then; other nodes' are seen with the next count."""


class Backlog:
    """`limit`: batches of one app that may wait. Times are seconds of the event loop's clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._apps: dict[str, _Waiting] = {}

    def check(self, app_id: str, now: float) -> None:
        """Raises Unavailable if the queue of that app is full."""
        app = self._apps.get(app_id)
        if app is None or app.counted + app.since < self._limit:
            return
        if now - app.counted_at < _AGE_FULL:
            raise Unavailable(
                "Too many pushes of this app wait to be sent; nothing was stored.", retry_after=5
            )
        app.counted_at = now  # the others are refused until this one's commit has counted

    def stored(self, batches: Mapping[str, int], now: float) -> list[str]:
        """Note how many batches of each app were stored a moment ago. Returns the apps to be counted anew."""
        stale = []
        for app_id, count in batches.items():
            app = self._apps.get(app_id)
            if app is not None:
                app.since += count
            if app is None or self._is_stale(app, now):
                stale.append(app_id)
        return stale

    async def count(self, database: Database, app_ids: Sequence[str], now: float) -> None:
        """Count what waits of these apps. Raises Unavailable."""
        counts = await BatchRepository(database).count_waiting_batches(app_ids, self._limit)
        self._apps = {app_id: app for app_id, app in self._apps.items() if now - app.counted_at < 60}
        self._apps.update({app_id: _Waiting(count, now) for app_id, count in counts.items()})

    def _is_stale(self, app: _Waiting, now: float) -> bool:
        full = app.counted + app.since >= self._limit
        return full or now - app.counted_at >= _AGE or app.since * 10 >= self._limit
