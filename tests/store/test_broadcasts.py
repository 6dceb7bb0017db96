"""Broadcasts: cut into batches piece by piece, each installation into exactly one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from relay.core.delivery.routing import Route
from relay.core.delivery.sending import PushHeaders
from relay.core.ids import push_id
from relay.core.push.request import PushRequest
from relay.store.database import Database
from relay.store.push import broadcasts, pushes, queue

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Audience:
    """Apps with installations, written directly: there are more of them than is worth an API call each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made = 0
        self._last_app = ""

    async def app(self, app_id: str, installations: int) -> None:
        """Of the installations, each tenth has no device token and each eleventh is retired."""
        async with self._database.connection() as connection:
            await connection.execute(
                """
                WITH made AS (
                    INSERT INTO installation (app_id, installation_uuid, customer_id, device_id, alongside,
                                              bundle_id, team_id, enrolled_at, retired_at)
                    SELECT $1, gen_random_uuid(), n, n, gen_random_uuid()::text, 'b', 't', $3::timestamptz,
                           CASE WHEN n % 11 = 0 THEN $3::timestamptz END
                    FROM generate_series(1, $2::int) AS n RETURNING app_id, installation_id, customer_id
                )
                INSERT INTO device_token (app_id, installation_id, token, registered_at)
                SELECT app_id, installation_id, uuid_send(gen_random_uuid()), $3::timestamptz
                FROM made WHERE customer_id % 10 <> 0
                """,
                app_id,
                installations,
                NOW,
            )

    async def reachable(self, app_id: str) -> set[int]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT installation_id FROM installation JOIN device_token USING (app_id, installation_id) "
                "WHERE app_id = $1 AND installation.retired_at IS NULL",
                app_id,
            )
        return {row[0] for row in rows}

    async def send(self, app_id: str, token_kind: str = "apns") -> UUID:
        self._made += 1
        made = push_id(int(NOW.timestamp() * 1000), self._made)
        later = NOW + timedelta(days=1)
        headers = PushHeaders("alert", 10)
        request = PushRequest(
            app_id, made, uuid4(), NOW, later, headers, token_kind, b"{}", False, [], [], everyone=True
        )
        async with self._database.connection() as connection:
            await pushes.insert(connection, [request], [Route({}, 0, [])], [None], 5, lambda: 1)
        return made

    async def cut(self, due_limit: int = 1000, queue_limit: int = 10_000, size: int = 20) -> int | None:
        async with self._database.connection() as connection:
            piece = await broadcasts.cut(
                connection,
                size,
                5,
                NOW,
                after_app=self._last_app,
                due_limit=due_limit,
                queue_limit=queue_limit,
            )
        if piece is None:
            return None
        self._last_app = piece.app_id
        return piece.found

    async def batches(self, push: UUID) -> list[list[int]]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT installations FROM batch WHERE push_id = $1", push)
        return [row[0] for row in rows]

    async def targets(self, app_id: str, push: UUID) -> tuple[int, bool]:
        async with self._database.connection() as connection:
            row = await pushes.find(connection, [app_id], push)
        assert row is not None
        return row["targets"], row["growing"]


@pytest.fixture
def audience(database: Database) -> Audience:
    return Audience(database)


async def test_every_reachable_installation_is_in_exactly_one_batch(audience: Audience) -> None:
    await audience.app("app", 100)
    await audience.app("other", 30)
    push = await audience.send("app")
    assert await audience.targets("app", push) == (0, True)
    found = []
    while (count := await audience.cut()) is not None:
        found.append(count)
    reachable = await audience.reachable("app")
    assert sum(found) == len(reachable)
    assert len(found) == 6, "100 of 20 each, and the last finds that there are no more"
    batches = await audience.batches(push)
    assert Counter(one for batch in batches for one in batch) == Counter(reachable)
    assert max(map(len, batches)) == 5
    assert await audience.targets("app", push) == (len(reachable), False)


async def test_a_short_broadcast_does_not_wait_for_the_end_of_a_long_one(audience: Audience) -> None:
    await audience.app("long", 200)
    await audience.app("short", 10)
    await audience.send("long")
    await audience.cut()
    push = await audience.send("short")
    await audience.cut()
    assert await audience.targets("short", push) == (9, False)


async def test_broadcasts_that_never_end_do_not_stop_one_that_was_begun(audience: Audience) -> None:
    """Apps have turns, not broadcasts; and within an app the oldest comes first, however many come after it."""
    await audience.app("flood", 40)
    await audience.app("victim", 60)
    push = await audience.send("victim")
    first = await audience.send("flood")
    for _ in range(4):
        for _ in range(10):
            await audience.send("flood")
        await audience.cut()
        await audience.cut()
    assert await audience.targets("victim", push) == (len(await audience.reachable("victim")), False)
    assert await audience.targets("flood", first) == (len(await audience.reachable("flood")), False)


async def test_no_more_is_cut_of_an_app_than_is_worked_off(database: Database, audience: Audience) -> None:
    """What is cut beyond that would only fill the queue; it goes on when batches were claimed."""
    await audience.app("large", 500)
    await audience.app("other", 10)
    push = await audience.send("large")
    while await audience.cut(due_limit=10) is not None:
        pass
    assert 10 <= len(await audience.batches(push)) < 10 + 5
    assert (await audience.targets("large", push))[1], "it is still to be cut"
    other = await audience.send("other")
    assert await audience.cut(due_limit=10) == 9, "another app does not wait for that"
    assert (await audience.targets("other", other)) == (9, False)
    async with database.connection() as connection:
        assert await queue.claim(connection, uuid4(), NOW, NOW + timedelta(minutes=1), 100, 100)
    assert await audience.cut(due_limit=10), "those are under way"
    while await audience.cut(queue_limit=30) is not None:
        pass
    assert 30 <= len(await audience.batches(push)) < 30 + 5, "and all that waits of an app has a limit too"


async def test_a_kind_of_token_that_few_have_does_not_make_a_piece_longer(
    database: Database, audience: Audience
) -> None:
    await audience.app("app", 300)
    async with database.connection() as connection:
        wanted = await connection.fetch(
            "UPDATE device_token SET kind = 'voip' WHERE installation_id % 50 = 1 RETURNING installation_id"
        )
    push = await audience.send("app", "voip")
    await audience.cut(size=100)
    async with database.connection() as connection:
        after = await connection.fetchval(
            "SELECT after - (SELECT min(installation_id) FROM installation) FROM broadcast"
        )
    assert after == 99, "it goes by what was read"
    while await audience.cut(size=100) is not None:
        pass
    reached = {one for batch in await audience.batches(push) for one in batch}
    assert reached == {row[0] for row in wanted} & await audience.reachable("app")


async def test_waiting_broadcasts_count_against_the_limit_of_their_app(
    database: Database, audience: Audience
) -> None:
    for _ in range(3):
        await audience.send("app")
    async with database.connection() as connection:
        assert await queue.waiting(connection, ["app", "other"], 100) == {"app": 3, "other": 0}


async def test_who_enrols_while_it_is_cut_is_reached_at_most_once(audience: Audience) -> None:
    await audience.app("app", 60)
    push = await audience.send("app")
    await audience.cut()
    await audience.app("app", 20)
    while await audience.cut() is not None:
        pass
    reached = Counter(one for batch in await audience.batches(push) for one in batch)
    assert set(reached.values()) == {1}
    assert set(reached) <= await audience.reachable("app")


async def test_a_piece_resolves_to_its_copies_as_they_are_when_it_is_claimed(
    database: Database, audience: Audience
) -> None:
    """Read in one go, from its first installation to its last: who came or went in between is seen all the same."""
    await audience.app("other", 7)
    await audience.app("app", 80)
    push = await audience.send("app")
    while await audience.cut() is not None:
        pass
    targets = await audience.reachable("app")
    async with database.connection() as connection:
        # One of each ten had no token when it was cut, and has one now; some have lost theirs, some are retired.
        await connection.execute(
            "INSERT INTO device_token (app_id, installation_id, token, registered_at) "
            "SELECT app_id, installation_id, uuid_send(gen_random_uuid()), now() FROM installation i "
            "WHERE NOT EXISTS (SELECT FROM device_token t WHERE t.installation_id = i.installation_id)"
        )
        await connection.execute("UPDATE device_token SET retired_at = now() WHERE installation_id % 7 = 0")
        await connection.execute("UPDATE installation SET retired_at = now() WHERE installation_id % 13 = 0")
        claimed = await queue.claim(connection, uuid4(), NOW, NOW + timedelta(minutes=1), 100, 0)
        assert {one.push_id for one in claimed} == {push}
        assert all(one.dense for one in claimed)
        groups = await queue.resolve(connection, claimed)
        tokens = dict(await connection.fetch("SELECT installation_id, token FROM device_token"))
    found = [
        copy for own in groups for one in own for copy in zip(one.installations, one.tokens, strict=True)
    ]
    assert len(found) == len(dict(found))
    assert set(dict(found)) == targets & await audience.reachable("app") - {n for n in targets if n % 7 == 0}
    assert dict(found).items() <= tokens.items()
    for batch, own in zip(claimed, groups, strict=True):
        assert {number for one in own for number in one.installations} <= set(batch.installations)


async def test_a_piece_of_few_among_many_is_not_read_in_one_go(
    database: Database, audience: Audience
) -> None:
    await audience.app("app", 300)
    async with database.connection() as connection:
        await connection.execute("DELETE FROM device_token WHERE installation_id % 50 <> 1")
    await audience.send("app")
    while await audience.cut() is not None:
        pass
    async with database.connection() as connection:
        claimed = await queue.claim(connection, uuid4(), NOW, NOW + timedelta(minutes=1), 100, 0)
    assert claimed
    assert not any(one.dense for one in claimed)
