"""Metrics of the whole relay, read from the database: queue, credentials, nodes."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from relay import __version__
from relay.core.accounts import CredentialState
from relay.core.clock import Clock
from relay.core.errors import RelayError
from relay.store.accounts import credentials
from relay.store.database import Database
from relay.store.operations.nodes import NodeRepository, NodeState
from relay.store.operations.queue_state import BatchState, QueueState, QueueStateRepository

_CACHE_SECONDS = 5.0
_TIMEOUT_SECONDS = 5.0
"""The time for the answers of the database. Prometheus gives up after ten seconds."""
_SIZE_LABELS = {False: "small", True: "bulk"}
"""The label `size`, by whether a batch belongs to a bulk push."""


@dataclass(frozen=True, slots=True)
class _RelayState:
    """The state at the last refresh. While the database is away, all fields but `database_up` are empty.

    `running` and `silent` count nodes. `clock_skew` is in seconds.
    """

    database_up: bool = False
    queue: QueueState | None = None
    credentials: dict[str, int] | None = None
    running: int = 0
    silent: int = 0
    clock_skew: float = 0.0


class StateMetrics(Collector):
    """The collector of the metrics. Its values are those of the last `refresh`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._state = _RelayState()
        self._refreshed_at: float | None = None
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the state from the database, unless it was read in the last five seconds. Never fails."""
        loop = asyncio.get_running_loop()
        async with self._refreshing:
            if self._refreshed_at is None or loop.time() - self._refreshed_at >= _CACHE_SECONDS:
                self._state = await self._read_state()
                self._refreshed_at = loop.time()

    async def _read_state(self) -> _RelayState:
        try:
            await self._database.ready()
        except RelayError:
            return _RelayState()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                now = await self._database.now()
                nodes = await NodeRepository(self._database).list_nodes(now)
                silent = sum(node.is_silent(now) for node in nodes)
                return _RelayState(
                    database_up=True,
                    queue=await QueueStateRepository(self._database).read_queue_state(self._clock.now()),
                    credentials=await credentials.count_by_state(self._database),
                    running=len(nodes) - silent,
                    silent=silent,
                    clock_skew=_clock_skew(node for node in nodes if not node.is_silent(now)),
                )
        except (RelayError, TimeoutError):  # the database is slow, or has no schema yet
            return _RelayState(database_up=True)

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as gauges."""
        snapshot = self._state
        yield _gauge(
            "build_info",
            "Which version runs; the value is 1.",
            [({"version": __version__, "python": platform.python_version()}, 1)],
        )
        yield _gauge(
            "database_up",
            "Whether the database answers this node, and can be written.",
            [({}, snapshot.database_up)],
        )
        if snapshot.queue is not None:
            yield from _queue_metrics(snapshot.queue)
        if snapshot.credentials is not None:
            yield _gauge(
                "credentials",
                "Credentials by state: active, suspended.",
                [({"state": state}, snapshot.credentials.get(state, 0)) for state in CredentialState],
            )
            yield _gauge(
                "nodes",
                "Processes of all nodes: running, or silent since less than an hour without having ended in order.",
                [({"state": "running"}, snapshot.running), ({"state": "silent"}, snapshot.silent)],
            )
            yield _gauge(
                "clock_skew_seconds",
                "How far the clock of a running node is off the database's, at most.",
                [({}, snapshot.clock_skew)],
            )


def _queue_metrics(queue: QueueState) -> Iterable[Metric]:
    """Return the gauges of the queue. States without batches are 0, so that their series never end."""
    depths = {(depth.state, depth.bulk): depth for depth in queue.by_state}
    labels = [(state, bulk) for state in BatchState for bulk in _SIZE_LABELS]
    for name, subject in (("batches", "Batches in the queue"), ("installations", "Targets in the queue")):
        yield _gauge(
            f"queue_{name}",
            f"{subject}: due, leased (being sent), later (a retry), held (for a credential); bulk or small.",
            [
                (
                    {"state": state, "size": _SIZE_LABELS[bulk]},
                    getattr(depths[state, bulk], name) if (state, bulk) in depths else 0,
                )
                for state, bulk in labels
            ],
        )
    yield _gauge(
        "queue_oldest_due_seconds",
        "For how long the oldest batch has been due and not claimed.",
        [({}, queue.oldest_due_seconds)],
    )
    yield _gauge(
        "queue_waiting",
        "What else waits: broadcasts to be cut, pushes to channels, messages to webhooks.",
        [
            ({"what": "broadcasts"}, queue.broadcasts),
            ({"what": "channel_pushes"}, queue.channel_pushes),
            ({"what": "webhook_messages"}, queue.webhook_events),
        ],
    )


def _gauge(name: str, help_text: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    """Return a family of gauges with a value for each set of labels."""
    rows = list(samples)
    family = GaugeMetricFamily(f"push_relay_{name}", help_text, labels=list(rows[0][0]))
    for labels, value in rows:
        family.add_metric(list(labels.values()), float(value))
    return family


def _clock_skew(nodes: Iterable[NodeState]) -> float:
    """Return by how many seconds the clock of a node is off the database's, at most."""
    return max((abs(node.clock_ahead) for node in nodes), default=0.0)
