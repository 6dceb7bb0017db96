"""The nodes, the queue, and rates over time. These pages refresh themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from aiohttp import web

from relay.console.operator.charts import HEIGHT, WIDTH, Chart, stack_columns
from relay.console.resources import PageResources
from relay.console.routes import operator_route
from relay.console.visitors import OperatorVisitor
from relay.core.delivery.outcomes import Outcome
from relay.store.operations.minute_counts import MinuteCount, MinuteCountRepository
from relay.store.operations.nodes import NodeRepository
from relay.store.operations.queue_state import QueueStateRepository

_LATE_SECONDS = 30.0
"""Age of the oldest due batch from which the queue page warns."""
_CLOCK_TOLERANCE_SECONDS = 2.0
"""Difference of a node's clock from which the page of nodes warns."""
_OUTCOMES = (
    Outcome.DELIVERED,
    Outcome.UNREGISTERED,
    Outcome.FAILED,
    Outcome.EXPIRED,
    Outcome.CANCELLED,
)
_FAILURES = (Outcome.FAILED, Outcome.UNREGISTERED, Outcome.EXPIRED)

Series = dict[str, dict[datetime, int]]
"""Counts by the name of the series and the start of the step."""


class ChartRange(NamedTuple):
    """The time that charts cover, and the step of one column."""

    name: str
    text: str
    length: timedelta
    step: timedelta


RANGES = (
    ChartRange("1h", "Last hour", timedelta(hours=1), timedelta(minutes=1)),
    ChartRange("24h", "Last 24 hours", timedelta(hours=24), timedelta(minutes=15)),
    ChartRange("7d", "Last 7 days", timedelta(days=7), timedelta(hours=2)),
)


class OperationsPages:
    """`/console/nodes/`, `/console/queue/` and `/console/rates/`."""

    def __init__(self, resources: PageResources) -> None:
        self._renderer = resources.renderer
        self._database = resources.database
        self._nodes = NodeRepository(resources.database)
        self._counts = MinuteCountRepository(resources.database)
        self._queue = QueueStateRepository(resources.database)
        self._clock = resources.clock

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the routes with their handlers."""
        yield operator_route("GET", "nodes/", self.show_nodes)
        yield operator_route("GET", "queue/", self.show_queue)
        yield operator_route("GET", "rates/", self.show_rates)

    async def show_nodes(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """Show the processes that reported in the last hour."""
        now = await self._database.now()  # nodes report with the clock of the database
        nodes = await self._nodes.list_nodes(now)
        return self._renderer.render_page(
            request,
            "nodes.html",
            section="nodes",
            nodes=nodes,
            now=now,
            clock_tolerance=_CLOCK_TOLERANCE_SECONDS,
        )

    async def show_queue(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """Show the waiting batches by state, app and credential."""
        state = await self._queue.read_queue_state(self._clock.now())
        return self._renderer.render_page(
            request, "queue.html", section="queue", queue=state, late_seconds=_LATE_SECONDS
        )

    async def show_rates(self, request: web.Request, _: OperatorVisitor) -> web.StreamResponse:
        """Show accepted pushes, outcomes, failures and retries as charts."""
        range_name = request.query.get("range")
        chart_range = next((item for item in RANGES if item.name == range_name), RANGES[0])
        until = self._clock.now()
        since = _floor_to_step(until - chart_range.length, chart_range.step) + chart_range.step
        seconds = int(chart_range.step.total_seconds())
        counts = await self._counts.sum_counts(since, until + timedelta(minutes=1), seconds)

        def chart(series: Series) -> Chart:
            return stack_columns(series, since, until, chart_range.step)

        charts = [
            ("Pushes accepted", "Requests to send.", chart(_series_by_outcome(counts, ("accepted",)))),
            (
                "Outcomes",
                "Copies, by the outcome of their push.",
                chart(_series_by_outcome(counts, _OUTCOMES)),
            ),
            ("Failures by reason", "Copies not reached.", chart(_series_by_reason(counts, _FAILURES))),
            ("Retries by reason", "Attempts to be repeated.", chart(_series_by_reason(counts, ("retried",)))),
        ]
        return self._renderer.render_page(
            request,
            "rates.html",
            section="rates",
            charts=charts,
            ranges=RANGES,
            chart_range=chart_range,
            width=WIDTH,
            height=HEIGHT,
        )


def _floor_to_step(moment: datetime, step: timedelta) -> datetime:
    """Return the start of the step that holds `moment`. Steps start at multiples of their length since 1970."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def _series_by_outcome(counts: Iterable[MinuteCount], outcomes: Iterable[str]) -> Series:
    series: Series = {outcome.capitalize(): {} for outcome in outcomes}
    for item in counts:
        if (count_at := series.get(item.outcome.capitalize())) is not None:
            count_at[item.at] = count_at.get(item.at, 0) + item.count
    return series


def _series_by_reason(counts: Iterable[MinuteCount], outcomes: Iterable[str]) -> Series:
    """Return a series for each reason of these outcomes, the most frequent first.

    Counts without a reason form a series named after their outcome.
    """
    series: Series = {}
    shown_outcomes = frozenset(outcomes)
    for item in counts:
        if item.outcome in shown_outcomes:
            count_at = series.setdefault(item.reason or item.outcome.capitalize(), {})
            count_at[item.at] = count_at.get(item.at, 0) + item.count
    return dict(sorted(series.items(), key=lambda entry: (-sum(entry[1].values()), entry[0])))
