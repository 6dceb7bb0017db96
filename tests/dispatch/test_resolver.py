"""The resolver: a few queries for all leased batches, and none for what is known."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from relay.core.accounts import Environment
from relay.core.delivery.plan import TargetGroup
from relay.dispatch.credential_cache import CredentialCache
from relay.dispatch.resolver import LeasedBatches, Resolver
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE
from relay.store.push.batches import BatchRepository
from relay.store.push.records import DispatchContext
from tests.factories import NOW, make_batch, make_new_credential

KEYS = ("a key of more than thirty-two characters",)
TEAMS = 20


class Node:
    """A resolver over an app with an installation for each team. All but the last team have a credential."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._credentials = Credentials(database, KEYS)
        self.resolver = Resolver(database, CredentialCache(self._credentials, self))

    def now(self) -> datetime:
        return NOW

    async def fill(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                """
                WITH enrolled AS (
                    INSERT INTO installation (app_id, installation_uuid, customer_id, device_id, alongside, bundle_id,
                                              team_id, enrolled_at)
                    SELECT 'app', gen_random_uuid(), n, n, '', 'b', 'TEAM' || lpad(n::text, 6, '0'), $2
                    FROM generate_series(1, $1::integer) AS n RETURNING app_id, installation_id
                )
                INSERT INTO device_token (app_id, installation_id, token, registered_at)
                SELECT app_id, installation_id, uuid_send(gen_random_uuid()), $2 FROM enrolled
                """,
                TEAMS,
                NOW,
            )
        for number in range(1, TEAMS):
            new = make_new_credential(team_id=f"TEAM{number:06}")
            await self._credentials.put(new, NOW, COMMAND_LINE)


@pytest.fixture
async def node(database: Database) -> Node:
    node = Node(database)
    await node.fill()
    return node


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the queries that were made."""
    made: list[str] = []

    def count(owner: type, name: str) -> None:
        query = getattr(owner, name)

        async def counted(*arguments: Any) -> Any:
            made.append(name)
            return await query(*arguments)

        monkeypatch.setattr(owner, name, counted)

    count(BatchRepository, "resolve_targets")
    count(BatchRepository, "read_dispatch_context")
    count(Credentials, "find_of_teams")
    return made


async def test_many_batches_for_many_teams_take_three_queries(node: Node, queries: list[str]) -> None:
    batches = [
        make_batch(batch_id=number, installations=range(first, first + 5))
        for number, first in enumerate(range(1, TEAMS, 5))
    ]
    plan = await node.resolver.plan(LeasedBatches(batches))
    assert queries == ["resolve_targets", "read_dispatch_context", "find_of_teams"]
    jobs = [job for lane in plan.lanes.values() for job in lane]
    assert len(plan.lanes) == len(jobs) == TEAMS - 1, "a lane for each credential"
    assert all(job.credential and job.credential.team_id == job.team_id for job in jobs)
    assert [(held_by, list(ids)) for _, held_by, ids in plan.held] == [(0, [TEAMS])]
    assert plan.tokenless == []
    assert not any(batch.has_webhook for batch in batches)


async def test_what_the_intake_read_is_not_read_again(node: Node, queries: list[str]) -> None:
    batch = make_batch()
    groups = [[TargetGroup("TEAM000001", None, [1], [b"token"], ["b"])]]
    context = DispatchContext({}, {batch.app_id})
    for _ in range(2):
        plan = await node.resolver.plan(LeasedBatches([batch], groups, context))
        [[job]] = plan.lanes.values()
        assert job.credential is not None
        assert job.credential.environment is Environment.PRODUCTION
    assert queries == ["find_of_teams"]
    assert batch.has_webhook


async def test_only_what_is_missing_is_read(node: Node, queries: list[str]) -> None:
    batch = make_batch()
    await node.resolver.plan(LeasedBatches([batch], None, DispatchContext({}, set())))
    groups = [[TargetGroup("TEAM000001", None, [1], [b"token"], ["b"])]]
    await node.resolver.plan(LeasedBatches([batch], groups, None))
    assert queries == ["resolve_targets", "find_of_teams", "read_dispatch_context"]


async def test_an_installation_that_is_gone_has_no_token(node: Node) -> None:
    plan = await node.resolver.plan(LeasedBatches([make_batch(installations=[1, 10**6])]))
    [(_, gone)] = plan.tokenless
    assert gone == [10**6]


async def test_nothing_takes_no_query(node: Node, queries: list[str]) -> None:
    plan = await node.resolver.plan(LeasedBatches([]))
    assert (plan.lanes, plan.held, queries) == ({}, [], [])


def test_one_batch_is_picked_with_what_is_known_of_it() -> None:
    first, second = make_batch(batch_id=1), make_batch(batch_id=2)
    context = DispatchContext({}, set())
    groups = [[], [TargetGroup("t", None, [1], [b"token"], ["b"])]]
    picked = LeasedBatches([first, second], groups, context).pick(1)
    assert (picked.batches, picked.groups, picked.context) == ([second], [groups[1]], context)
    assert LeasedBatches([first, second]).pick(0) == LeasedBatches([first])
