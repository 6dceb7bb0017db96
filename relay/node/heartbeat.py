"""The heartbeat of a process: every few seconds its load, and the counts of the last minutes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from relay.core.clock import Clock
from relay.core.errors import RelayError, describe_error
from relay.store.database import Database
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import NodeRepository, NodeState
from relay.telemetry import metrics
from relay.telemetry.counts import Tally
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_BEAT_SECONDS = 5.0
"""Time between two beats. Every second beat writes the counts."""
_MAX_UNWRITTEN_MINUTES = 1440
"""Minutes whose counts are kept while they cannot be written."""


class Usage(NamedTuple):
    """The load of a process: pushes without a written outcome, and connections and requests to Apple."""

    in_flight: int
    connections: int
    streams: int


class Heartbeat:
    """The heartbeat of `node`. `usage` returns the load, `tally` collects the counts.

    Counts that cannot be written are kept and added later. If the answer to a commit is lost, its counts are added
    twice: they serve charts, while the deliveries are exact.
    """

    def __init__(
        self, database: Database, node: NodeState, clock: Clock, usage: Callable[[], Usage], tally: Tally
    ) -> None:
        self._database = database
        self._node = node
        self._clock = clock
        self._usage = usage
        self._tally = tally
        self._nodes = NodeRepository(database)
        self._minutes = MinuteCountRepository(database)
        self._unwritten: dict[datetime, Counter[tuple[str, str]]] = {}
        self._beating = asyncio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Beat until cancelled, also while the database is away."""
        beats = 0
        while True:
            try:
                await self.beat()
                if beats % 2:
                    await self.write_counts()
            except Exception as error:  # the next beat may succeed
                _log.debug("a heartbeat was not written", error=describe_error(error))
            beats += 1
            await asyncio.sleep(_BEAT_SECONDS)

    async def beat(self) -> None:
        """Write the time and the load of this node. Raises Unavailable."""
        usage = self.measure()
        async with self._beating:  # a concurrent beat would restore the row that `aclose` removes
            if not self._closed:
                await self._nodes.record_heartbeat(
                    replace(self._node, seen_at=self._clock.now(), **usage._asdict())
                )

    def measure(self) -> Usage:
        """Update the gauges of this process, and return its load."""
        usage, pool = self._usage(), self._database.usage
        metrics.IN_FLIGHT.set(usage.in_flight)
        metrics.APNS_CONNECTIONS.set(usage.connections)
        metrics.APNS_STREAMS.set(usage.streams)
        metrics.DATABASE_CONNECTIONS.labels("in_use").set(pool.in_use)
        metrics.DATABASE_CONNECTIONS.labels("idle").set(pool.idle)
        metrics.DATABASE_CONNECTIONS_LIMIT.set(pool.limit)
        return usage

    async def write_counts(self) -> None:
        """Add the counts to their minutes.

        Raises:
            Unavailable: the database does not answer. Unwritten counts are kept.
        """
        minute = self._clock.now().replace(second=0, microsecond=0)
        self._unwritten.setdefault(minute, Counter()).update(self._tally.take_counts())
        while len(self._unwritten) > _MAX_UNWRITTEN_MINUTES:
            del self._unwritten[min(self._unwritten)]
        while self._unwritten:  # each is removed first: `aclose` may write concurrently
            minute, counts = self._unwritten.popitem()
            try:
                await self._minutes.add_counts(minute, counts)
            except BaseException:
                self._unwritten.setdefault(minute, Counter()).update(counts)
                raise

    async def aclose(self) -> None:
        """Write the last counts and remove the node, which shuts down in order. Later beats do nothing."""
        async with self._beating:
            self._closed = True
        with contextlib.suppress(RelayError):
            await self.write_counts()
            await self._nodes.remove_node(self._node.node_id)
