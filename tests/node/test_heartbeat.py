"""The heartbeat of a node: counts added to their minute and kept while the database is away; removal at the end."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from relay.core.errors import Unavailable
from relay.node.heartbeat import Heartbeat, Usage
from relay.store.database import Database
from relay.store.operations.minute_counts import MinuteCountRepository
from relay.store.operations.nodes import NodeRepository, NodeState
from relay.telemetry.counts import Tally
from tests.api.front import Clock
from tests.end_to_end.network import network_to

MINUTE = timedelta(minutes=1)


def make_heartbeat(database: Database, clock: Clock, tally: Tally, node_id: UUID | None = None) -> Heartbeat:
    node = NodeState(node_id or uuid4(), "host", 7, "1.0", ("api",), clock.now(), clock.now())
    return Heartbeat(database, node, clock, lambda: Usage(5, 2, 3), tally)


async def test_a_node_that_shuts_down_writes_its_last_counts_and_is_removed(database: Database) -> None:
    clock, tally, lasting_id = Clock(), Tally(), uuid4()
    ending, lasting = (
        make_heartbeat(database, clock, tally),
        make_heartbeat(database, clock, Tally(), lasting_id),
    )
    for heartbeat in (ending, lasting):
        await heartbeat.beat()
    tally.add("delivered", "", 3)
    await ending.aclose()
    await ending.beat()  # a beat that was due at that moment
    listed = await NodeRepository(database).list_nodes(await database.now())
    assert [(node.node_id, node.in_flight, node.connections, node.streams) for node in listed] == [
        (lasting_id, 5, 2, 3)
    ]
    written = await MinuteCountRepository(database).sum_counts(clock.now(), clock.now() + MINUTE, 60)
    assert [(minute.outcome, minute.count) for minute in written] == [("delivered", 3)]


async def test_counts_that_cannot_be_written_are_added_to_their_minute_later(
    database: Database, database_url: str
) -> None:
    clock, tally = Clock(), Tally()
    async with network_to(database_url) as network:
        far = await Database.connect(network.url, 1, connect_timeout=60, statement_timeout=60)
        heartbeat = make_heartbeat(far, clock, tally)
        await network.down()
        for _ in range(3):
            tally.add("delivered", "", 1)
            with pytest.raises(Unavailable):
                await heartbeat.write_counts()
            clock.advance(60)
        await network.up()
        await heartbeat.write_counts()
        await heartbeat.write_counts()  # nothing is added twice
        await far.close()
    written = await MinuteCountRepository(database).sum_counts(
        clock.now() - 3 * MINUTE, clock.now() + MINUTE, 60
    )
    assert [(clock.now() - minute.at, minute.count) for minute in written] == [
        (3 * MINUTE, 1),
        (2 * MINUTE, 1),
        (MINUTE, 1),
    ]
