"""The operator's pages of what runs: nodes, the queue, and what happened over time. They refresh themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from aiohttp import web

from relay.console.operator.charts import HEIGHT, WIDTH, Chart, stacked
from relay.console.renderer import Pages
from relay.console.sessions import Visitor, operator_page
from relay.core.clock import Clock
from relay.core.delivery.outcomes import Outcome
from relay.store.database import Database
from relay.store.operations.minute_counts import MinuteCount, MinuteCountRepository
from relay.store.operations.nodes import NodeRepository
from relay.store.operations.queue_state import QueueStateRepository

_LATE = 30.0
"""Seconds after which what is due and not sent is a sign of trouble."""
_CLOCK = 2.0
"""Seconds that a node's clock may be off before it is pointed out."""
_OUTCOMES = (
    Outcome.DELIVERED,
    Outcome.UNREGISTERED,
    Outcome.FAILED,
    Outcome.EXPIRED,
    Outcome.CANCELLED,
)
_BAD = (Outcome.FAILED, Outcome.UNREGISTERED, Outcome.EXPIRED)


class Range(NamedTuple):
    """How far back charts go, and what one column of them is."""

    name: str
    text: str
    length: timedelta
    step: timedelta


RANGES = (
    Range("1h", "Last hour", timedelta(hours=1), timedelta(minutes=1)),
    Range("24h", "Last 24 hours", timedelta(hours=24), timedelta(minutes=15)),
    Range("7d", "Last 7 days", timedelta(days=7), timedelta(hours=2)),
)


class RunningPages:
    """`/console/nodes/`, `/console/queue/` and `/console/rates/`."""

    def __init__(self, pages: Pages, database: Database, clock: Clock) -> None:
        self._pages = pages
        self._database = database
        self._nodes = NodeRepository(database)
        self._counts = MinuteCountRepository(database)
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """All routes, each with its handler."""
        yield operator_page("GET", "nodes/", self.nodes)
        yield operator_page("GET", "queue/", self.queue)
        yield operator_page("GET", "rates/", self.rates)

    async def nodes(self, request: web.Request, _: Visitor) -> web.StreamResponse:
        """The processes that were seen in the last hour."""
        now = await self._database.now()  # what they were seen by
        nodes = await self._nodes.list_nodes(now)
        return self._pages.render(
            request, "nodes.html", section="nodes", nodes=nodes, now=now, clock_limit=_CLOCK
        )

    async def queue(self, request: web.Request, _: Visitor) -> web.StreamResponse:
        """What waits, of whom, and for what."""
        state = await QueueStateRepository(self._database).read_queue_state(self._clock.now())
        return self._pages.render(request, "queue.html", section="queue", queue=state, late=_LATE)

    async def rates(self, request: web.Request, _: Visitor) -> web.StreamResponse:
        """What was accepted and what became of it, as charts."""
        asked = request.query.get("range")
        shown = next((one for one in RANGES if one.name == asked), RANGES[0])
        until = self._clock.now()
        since = _floor(until - shown.length, shown.step) + shown.step
        seconds = int(shown.step.total_seconds())
        counts = await self._counts.sum_counts(since, until + timedelta(minutes=1), seconds)

        def chart(series: dict[str, dict[datetime, int]]) -> Chart:
            return stacked(series, since, until, shown.step)

        charts = [
            ("Pushes accepted", "Requests to send", chart(_by_outcome(counts, ("accepted",)))),
            ("Outcomes", "Copies that pushes were for", chart(_by_outcome(counts, _OUTCOMES))),
            ("Failures by reason", "What did not arrive, and why", chart(_by_reason(counts, _BAD))),
            ("Retries by reason", "Attempts that are made again", chart(_by_reason(counts, ("retried",)))),
        ]
        return self._pages.render(
            request,
            "rates.html",
            section="rates",
            charts=charts,
            ranges=RANGES,
            shown=shown,
            width=WIDTH,
            height=HEIGHT,
        )


def _floor(moment: datetime, step: timedelta) -> datetime:
    """The beginning of the step that holds `moment`: steps begin at multiples of their length since 1970."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def _by_outcome(counts: Iterable[MinuteCount], outcomes: Iterable[str]) -> dict[str, dict[datetime, int]]:
    series: dict[str, dict[datetime, int]] = {outcome.capitalize(): {} for outcome in outcomes}
    for one in counts:
        if (at := series.get(one.outcome.capitalize())) is not None:
            at[one.at] = at.get(one.at, 0) + one.count
    return series


def _by_reason(counts: Iterable[MinuteCount], outcomes: Iterable[str]) -> dict[str, dict[datetime, int]]:
    """The series of the reasons of some outcomes, the most frequent first. Without a reason: by outcome."""
    series: dict[str, dict[datetime, int]] = {}
    wanted = frozenset(outcomes)
    for one in counts:
        if one.outcome in wanted:
            at = series.setdefault(one.reason or one.outcome.capitalize(), {})
            at[one.at] = at.get(one.at, 0) + one.count
    return dict(sorted(series.items(), key=lambda item: (-sum(item[1].values()), item[0])))
