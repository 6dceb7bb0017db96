"""Nodes: listed with their last heartbeat, silent when they died, removed when they shut down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from relay.store.database import Database
from relay.store.operations.nodes import LISTED_FOR, SILENT_AFTER, NodeRepository, NodeState


async def test_a_node_is_listed_with_its_last_heartbeat(database: Database) -> None:
    nodes = NodeRepository(database)
    now = await database.now()
    node = NodeState(uuid4(), "host", 7, "1.0", ("api", "dispatch"), now, now)
    await nodes.record_heartbeat(node)
    await nodes.record_heartbeat(replace(node, in_flight=5, connections=2, streams=3))
    (listed,) = await nodes.list_nodes(await database.now())
    assert replace(listed, seen_at=now, clock_ahead=0.0) == replace(
        node, in_flight=5, connections=2, streams=3
    )
    assert listed.seen_at >= now


async def test_a_clock_that_is_ahead_is_measured(database: Database) -> None:
    now = await database.now()
    day = timedelta(days=1)
    await NodeRepository(database).record_heartbeat(
        NodeState(uuid4(), "host", 7, "1.0", ("api",), now, now + day)
    )
    (listed,) = await NodeRepository(database).list_nodes(await database.now())
    assert day.total_seconds() - 3600 < listed.clock_ahead <= day.total_seconds()
    assert not listed.is_silent(await database.now() + SILENT_AFTER / 2), (
        "`seen_at` is by the database's clock"
    )


async def test_a_dead_node_is_listed_for_an_hour_and_a_removed_one_is_not(database: Database) -> None:
    nodes = NodeRepository(database)
    now = await database.now()
    dead, ended = (NodeState(uuid4(), "host", number, "1.0", ("api",), now, now) for number in (1, 2))
    await nodes.record_heartbeat(dead)
    await nodes.record_heartbeat(ended)
    await nodes.remove_node(ended.node_id)
    last_seen = (await nodes.list_nodes(await database.now()))[0].seen_at
    (listed,) = await nodes.list_nodes(last_seen + SILENT_AFTER * 2)
    assert listed.node_id == dead.node_id
    assert listed.is_silent(last_seen + SILENT_AFTER * 2)
    assert await nodes.list_nodes(last_seen + LISTED_FOR * 2) == []
    assert await nodes.delete_nodes_before(last_seen) == 0
    assert await nodes.delete_nodes_before(last_seen + LISTED_FOR * 2) == 1
