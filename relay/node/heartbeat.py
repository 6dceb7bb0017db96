"""What every process says of itself, every few seconds: that it lives, what it has under way, and what it counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from relay.core.clock import Clock
from relay.core.errors import RelayError, describe
from relay.store.database import Database
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import NodeRepository, NodeState
from relay.telemetry import metrics
from relay.telemetry.counts import Tally
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)
_BEAT = 5.0
"""Seconds between two beats; counts are written with every second one."""
_MOST_MINUTES = 1440
"""So many minutes' counts are kept while they cannot be written."""


class Usage(NamedTuple):
    """What a process has under way: pushes without a written outcome; and connections and requests to Apple."""

    in_flight: int
    connections: int
    streams: int


class Heartbeat:
    """Beats for `node` until it is closed. `usage` says what is under way, `tally` what has happened.

    What cannot be written is kept and added later. If a commit's answer is lost, its counts are added twice: they are
    for charts, and the ledger is what counts.
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
        """Beat until cancelled. A database that is away is waited for."""
        beats = 0
        while True:
            try:
                await self.beat()
                if beats % 2:
                    await self.write_counts()
            except Exception as error:  # the next one may go well
                _log.debug("a heartbeat was not written", error=describe(error))
            beats += 1
            await asyncio.sleep(_BEAT)

    async def beat(self) -> None:
        """Write that this node lives, and what it has under way. Raises Unavailable."""
        usage = self.measure()
        async with self._beating:  # a beat that is under way would bring back what `aclose` takes away
            if not self._closed:
                await self._nodes.record_heartbeat(
                    replace(self._node, seen_at=self._clock.now(), **usage._asdict())
                )

    def measure(self) -> Usage:
        """Bring the gauges of this process up to date."""
        usage, pool = self._usage(), self._database.usage
        metrics.IN_FLIGHT.set(usage.in_flight)
        metrics.APNS_CONNECTIONS.set(usage.connections)
        metrics.APNS_STREAMS.set(usage.streams)
        metrics.DATABASE_CONNECTIONS.labels("in_use").set(pool.in_use)
        metrics.DATABASE_CONNECTIONS.labels("idle").set(pool.idle)
        metrics.DATABASE_CONNECTIONS_LIMIT.set(pool.limit)
        return usage

    async def write_counts(self) -> None:
        """Add what was counted to its minutes. Raises Unavailable; then the rest is kept."""
        minute = self._clock.now().replace(second=0, microsecond=0)
        self._unwritten.setdefault(minute, Counter()).update(self._tally.take())
        while len(self._unwritten) > _MOST_MINUTES:
            del self._unwritten[min(self._unwritten)]
        while self._unwritten:  # each is taken away first: `aclose` may write at the same time
            minute, counts = self._unwritten.popitem()
            try:
                await self._minutes.add_counts(minute, counts)
            except BaseException:
                self._unwritten.setdefault(minute, Counter()).update(counts)
                raise

    async def aclose(self) -> None:
        """Write the last counts and take the node away: it ends in order. From now on it does not beat."""
        async with self._beating:
            self._closed = True
        with contextlib.suppress(RelayError):
            await self.write_counts()
            await self._nodes.remove_node(self._node.node_id)
