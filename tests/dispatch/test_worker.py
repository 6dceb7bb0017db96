"""The dispatcher over a real queue: one batch that it cannot send, and batches that come too late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import NoReturn
from uuid import UUID, uuid4

import pytest

from relay.apns.sender import ApnsSender
from relay.core.delivery.plan import ClaimedBatch
from relay.core.errors import Unavailable
from relay.dispatch.credential_cache import CredentialCache
from relay.dispatch.dispatcher import Dispatcher
from relay.settings import DispatchSettings
from relay.store.accounts.credentials import Credentials
from relay.store.database import Connection, Database
from relay.store.operations.audit import COMMAND_LINE
from relay.store.push.acceptance import AcceptanceRepository
from relay.store.push.batches import BatchRepository
from relay.store.push.cancellation import CancellationRepository
from relay.store.push.records import Lease
from tests.eventually import eventually, loop_turns
from tests.factories import make_new_credential, make_push_request, make_route

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = uuid4()


class Node:
    """A dispatcher, and pushes for it to single installations."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._ids = count(1)
        self.ended: list[UUID] = []
        self.credentials = Credentials(database, ("a key of the credentials, for tests",))
        self.dispatcher = Dispatcher(
            database=database,
            credentials=CredentialCache(self.credentials, self),
            sender=ApnsSender(),
            clock=self,
            settings=DispatchSettings(poll=0.1),
            owner=OWNER,
            batch_id=lambda: next(self._ids),
            spread=lambda: 0.5,
            on_ended=self._note,
            on_messages=lambda: None,
        )

    def now(self) -> datetime:
        return NOW

    def _note(self, batches: Sequence[ClaimedBatch]) -> None:
        self.ended += [batch.push_id for batch in batches]

    async def put(self, installation_id: int, lease: Lease | None = None) -> ClaimedBatch:
        request = make_push_request(number=next(self._ids))
        route = make_route(installations=[installation_id])
        async with self.database.connection() as connection:
            [own] = await AcceptanceRepository(self.database).store_pushes(
                connection, [request], [route], [lease], 2000, lambda: next(self._ids)
            )
        assert own is not None
        return own[0]

    async def copy(self) -> int:
        """A copy with a device token, and the credential for it."""
        new = make_new_credential(secret="the secret")
        await self.credentials.put(new, NOW, COMMAND_LINE)
        async with self.database.connection() as connection:
            made: int = await connection.fetchval(
                """
                WITH made AS (
                    INSERT INTO installation (app_id, installation_uuid, customer_id, device_id, alongside,
                                              bundle_id, team_id, enrolled_at)
                    VALUES ('app', gen_random_uuid(), 1, 1, '', 'b', 'TEAM000001', $1)
                    RETURNING app_id, installation_id
                ), registered AS (
                    INSERT INTO device_token (app_id, installation_id, token, registered_at)
                    SELECT app_id, installation_id, uuid_send(gen_random_uuid()), $1 FROM made
                )
                SELECT installation_id FROM made
                """,
                NOW,
            )
        return made


async def test_a_batch_that_only_a_newer_node_understands_holds_up_no_other(database: Database) -> None:
    node = Node(database)
    newer = await node.put(await node.copy())
    others = [await node.put(10**6 + n) for n in range(3)]  # without a device token, so they end at once
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE push SET push_type = 'hologram', token_kind = 'apns' WHERE push_id = $1", newer.push_id
        )
    running = asyncio.create_task(node.dispatcher.run())
    await eventually(lambda: len(node.ended) >= len(others))
    assert set(node.ended) == {batch.push_id for batch in others}
    await node.dispatcher.aclose(6.0)
    await running
    async with database.connection() as connection:
        left = await connection.fetch("SELECT push_id FROM batch WHERE lease_owner IS NULL")
    assert [row[0] for row in left] == [newer.push_id], "it is for another node"


async def test_what_is_handed_over_after_the_end_began_is_for_others(database: Database) -> None:
    node = Node(database)
    running = asyncio.create_task(node.dispatcher.run())
    await loop_turns()
    lease = node.dispatcher.lease(1)
    assert lease is not None
    batch = await node.put(10**6, lease)
    ending = asyncio.create_task(node.dispatcher.aclose(6.0))
    await loop_turns()
    node.dispatcher.take([batch], [[]], None)
    await ending
    await running
    assert node.ended == []
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM batch WHERE lease_owner IS NULL") == 1


async def test_a_push_that_is_cancelled_while_the_database_is_away_is_told_of(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it was known whether anybody wants to know."""
    node, publisher_id = Node(database), uuid4()
    batch = await node.put(await node.copy())
    async with database.connection() as connection:
        await connection.execute("INSERT INTO publisher VALUES ($1, 'P', $2)", publisher_id, NOW)
        await connection.execute("INSERT INTO app VALUES ('app', $1, 'A', $2)", publisher_id, NOW)
        await connection.execute(
            "INSERT INTO webhook (app_id, webhook_id, url, events, secret, created_at) "
            "VALUES ('app', $1, 'https://a.example', '{push.completed}', '', $2)",
            uuid4(),
            NOW,
        )

    async def away(
        repository: BatchRepository, connection: Connection, batches: Sequence[ClaimedBatch]
    ) -> NoReturn:
        await CancellationRepository(database).cancel_push(
            "app", batch.push_id, publisher_id, NOW, COMMAND_LINE
        )
        raise Unavailable("It is away.")

    monkeypatch.setattr(BatchRepository, "resolve_targets", away)
    running = asyncio.create_task(node.dispatcher.run())
    await eventually(lambda: node.ended)
    await node.dispatcher.aclose(6.0)
    await running
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT outcome FROM delivery") == "cancelled"
        told = await connection.fetch("SELECT type, push_id FROM webhook_event")
    assert [tuple(row) for row in told] == [("push.completed", batch.push_id)]
