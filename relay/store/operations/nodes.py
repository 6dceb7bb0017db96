"""SQL of the nodes that run: each writes how it is doing every few seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from relay.store.database import Database

SILENT = timedelta(seconds=20)
"""Whoever was not seen for so long has died, or has no database: a beat is due every five seconds."""
LISTED = timedelta(hours=1)
"""For so long a node that has died is shown: whoever looks should see that it is missing."""

# Both clocks are read at the same moment, but for the way there: milliseconds.
_BEAT = """
INSERT INTO node (node_id, host, process_id, version, roles, started_at, seen_at, in_flight, connections, streams,
                  clock_ahead)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), $7, $8, $9,
        extract(epoch FROM $10::timestamptz - clock_timestamp()))
ON CONFLICT (node_id) DO UPDATE SET
    seen_at = excluded.seen_at, in_flight = excluded.in_flight, connections = excluded.connections,
    streams = excluded.streams, clock_ahead = excluded.clock_ahead
"""
_LISTED = """
SELECT node_id, host, process_id, version, roles, started_at, seen_at, in_flight, connections, streams, clock_ahead
FROM node WHERE seen_at > $1 ORDER BY host, started_at, node_id
"""


@dataclass(frozen=True, slots=True)
class NodeState:
    """A process of the relay. `roles`: "api", "dispatch" or both.

    `in_flight`: pushes whose outcome is not written yet; `connections` and `streams`: those to Apple. `seen_at` is by
    the database's clock, and `clock_ahead` the seconds by which the node's is ahead of it: both as they are read back.
    """

    node_id: UUID
    host: str
    process_id: int
    version: str
    roles: tuple[str, ...]
    started_at: datetime
    seen_at: datetime
    in_flight: int = 0
    connections: int = 0
    streams: int = 0
    clock_ahead: float = 0.0

    def is_silent(self, now: datetime) -> bool:
        """Whether it was not heard of for so long that it has probably died."""
        return now - self.seen_at > SILENT


class Nodes:
    """The nodes that run, as far as they say so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, node: NodeState) -> None:
        """Write how a node is doing; `seen_at` is the time by its own clock. Raises Unavailable."""
        async with self._database.connection() as connection:
            await connection.execute(
                _BEAT,
                node.node_id,
                node.host,
                node.process_id,
                node.version,
                list(node.roles),
                node.started_at,
                node.in_flight,
                node.connections,
                node.streams,
                node.seen_at,
            )

    async def listed(self, now: datetime) -> list[NodeState]:
        """Those that were seen in the last hour, by host and age; see `NodeState.is_silent`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LISTED, now - LISTED)
        return [NodeState(**{**row, "roles": tuple(row["roles"])}) for row in rows]

    async def remove(self, node_id: UUID) -> None:
        """The node has ended in order."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM node WHERE node_id = $1", node_id)

    async def forget_before(self, moment: datetime) -> int:
        """Forget nodes that were not seen since `moment`. Returns how many."""
        async with self._database.connection() as connection:
            done = await connection.execute("DELETE FROM node WHERE seen_at < $1", moment)
        return int(done.rpartition(" ")[2])
