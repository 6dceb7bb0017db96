"""Nodes: the running processes of the relay, each of which stores its state every few seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from relay.core.ids import NodeId
from relay.store import sql
from relay.store.database import Database

SILENT_AFTER = timedelta(seconds=20)
"""Time since the last heartbeat after which a node counts as dead or cut off. A heartbeat is due every 5 seconds."""
LISTED_FOR = timedelta(hours=1)
"""Time since the last heartbeat for which a dead node is listed, so that operators see that it is missing."""
_SQL = sql.load(__package__, "nodes.sql")


@dataclass(frozen=True, slots=True)
class NodeState:
    """The state of a node. `roles`: "api", "dispatch" or both.

    `in_flight`: pushes whose outcome is not stored yet; `connections` and `streams`: those to Apple. In a state that is
    read back, `seen_at` is by the database's clock, and `clock_ahead` is the seconds by which the node's clock is ahead
    of it.
    """

    node_id: NodeId
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
        """Return whether the last heartbeat is so long ago that the node has probably died."""
        return now - self.seen_at > SILENT_AFTER


class NodeRepository:
    """The stored states of nodes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record_heartbeat(self, node: NodeState) -> None:
        """Store the state of a node; its `seen_at` is the time by the node's own clock. Raises Unavailable."""
        async with self._database.connection() as connection:
            await connection.execute(
                _SQL["record_heartbeat"],
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

    async def list_nodes(self, now: datetime) -> list[NodeState]:
        """Return the nodes that were seen within `LISTED_FOR` before `now`, by host and age, silent ones included."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list"], now - LISTED_FOR)
        return [NodeState(**{**row, "roles": tuple(row["roles"])}) for row in rows]

    async def remove_node(self, node_id: UUID) -> None:
        """Delete a node that has shut down in order."""
        async with self._database.connection() as connection:
            await connection.execute(_SQL["delete"], node_id)

    async def delete_nodes_before(self, moment: datetime) -> int:
        """Delete the nodes that were last seen before `moment`. Returns their number."""
        async with self._database.connection() as connection:
            status = await connection.execute(_SQL["delete_before"], moment)
        return int(status.rpartition(" ")[2])
