"""What a process says of itself: added to its minute, kept while it cannot be written, taken away at the end."""

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


def heart(database: Database, clock: Clock, tally: Tally, node_id: UUID | None = None) -> Heartbeat:
    node = NodeState(node_id or uuid4(), "host", 7, "1.0", ("api",), clock.now(), clock.now())
    return Heartbeat(database, node, clock, lambda: Usage(5, 2, 3), tally)


async def test_a_node_that_ends_in_order_writes_its_last_counts_and_is_gone(database: Database) -> None:
    clock, tally, left = Clock(), Tally(), uuid4()
    own, other = heart(database, clock, tally), heart(database, clock, Tally(), left)
    for one in (own, other):
        await one.beat()
    tally.add("delivered", "", 3)
    await own.aclose()
    await own.beat()  # one that was about to come
    listed = await NodeRepository(database).list_nodes(await database.now())
    assert [(one.node_id, one.in_flight, one.connections, one.streams) for one in listed] == [(left, 5, 2, 3)]
    written = await MinuteCountRepository(database).sum_counts(clock.now(), clock.now() + MINUTE, 60)
    assert [(one.outcome, one.count) for one in written] == [("delivered", 3)]


async def test_what_cannot_be_written_is_added_to_its_minute_later(
    database: Database, database_url: str
) -> None:
    clock, tally = Clock(), Tally()
    async with network_to(database_url) as network:
        far = await Database.connect(network.url, 1, connect_timeout=60, statement_timeout=60)
        own = heart(far, clock, tally)
        await network.down()
        for _ in range(3):
            tally.add("delivered", "", 1)
            with pytest.raises(Unavailable):
                await own.write_counts()
            clock.advance(60)
        await network.up()
        await own.write_counts()
        await own.write_counts()  # nothing is added twice
        await far.close()
    written = await MinuteCountRepository(database).sum_counts(
        clock.now() - 3 * MINUTE, clock.now() + MINUTE, 60
    )
    assert [(clock.now() - one.at, one.count) for one in written] == [
        (3 * MINUTE, 1),
        (2 * MINUTE, 1),
        (MINUTE, 1),
    ]
