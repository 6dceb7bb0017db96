"""Broadcasts in the order of teams: whole teams in a batch, and copies that change team while it is being cut."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE
from relay.store.push.broadcasts import BroadcastRepository
from relay.store.push.cancellation import CancellationRepository
from relay.store.push.records import BroadcastPiece
from tests.factories import make_push_request
from tests.store.push.batch_queue import NOW, store_push


class Teams:
    """An app whose installations have these teams, in an order that is not theirs."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._broadcasts = BroadcastRepository(database)
        self._pushes = 0

    async def enrol(self, sizes: dict[str, int]) -> None:
        teams = [team for team, size in sizes.items() for _ in range(size)]
        random.Random(7).shuffle(teams)
        async with self.database.connection() as connection:
            await connection.execute(
                """
                WITH enrolled AS (
                    INSERT INTO installation (app_id, installation_uuid, customer_id, device_id, alongside, bundle_id,
                                              team_id, enrolled_at)
                    SELECT 'app', gen_random_uuid(), n, n, '', 'b', team, $2
                    FROM unnest($1::text[]) WITH ORDINALITY AS t(team, n) RETURNING app_id, installation_id
                )
                INSERT INTO device_token (app_id, installation_id, token, registered_at)
                SELECT app_id, installation_id, uuid_send(gen_random_uuid()), $2 FROM enrolled
                """,
                teams,
                NOW,
            )

    async def send(self) -> UUID:
        self._pushes += 1
        request = make_push_request(number=self._pushes, everyone=True)
        await store_push(self.database, request, 0, 5, lambda: 1)
        return request.push_id

    async def cut(self, piece: int = 20, batch: int = 10) -> BroadcastPiece | None:
        async with self.database.transaction() as connection:
            await self._broadcasts.adopt_broadcasts(connection, NOW)
            return await self._broadcasts.cut_by_team(connection, piece, batch, NOW)

    async def cut_all(self, piece: int = 20, batch: int = 10) -> None:
        while await self.cut(piece, batch) is not None:
            pass

    async def move(self, team: str, where: str, *arguments: object) -> list[int]:
        """Sign installations anew for another team; returns their ids."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                f"UPDATE installation SET team_id = $1 WHERE app_id = 'app' AND {where} RETURNING installation_id",
                team,
                *arguments,
            )
        return [row[0] for row in rows]

    async def batches(self, push: UUID) -> list[list[int]]:
        async with self.database.connection() as connection:
            rows = await connection.fetch("SELECT installations FROM batch WHERE push_id = $1", push)
        return [row[0] for row in rows]

    async def teams(self) -> dict[int, str]:
        async with self.database.connection() as connection:
            return dict(await connection.fetch("SELECT installation_id, team_id FROM installation"))

    async def reached_once(self, push: UUID) -> bool:
        """Whether every installation is in exactly one batch."""
        reached = Counter(number for batch in await self.batches(push) for number in batch)
        return reached == Counter(list(await self.teams()))


@pytest.fixture
def app(database: Database) -> Teams:
    return Teams(database)


def spread_over(batches: Sequence[Sequence[int]], teams: dict[int, str]) -> Counter[str]:
    """Return the number of batches that each team is in."""
    return Counter(team for batch in batches for team in {teams[number] for number in batch})


async def test_a_batch_holds_whole_teams(app: Teams) -> None:
    await app.enrol({f"T{n:02}": 3 for n in range(30)})
    push = await app.send()
    await app.cut_all()
    batches, teams = await app.batches(push), await app.teams()
    assert await app.reached_once(push)
    assert set(spread_over(batches, teams).values()) == {1}
    assert max(map(len, batches)) <= 10
    assert len(batches) <= 15, "batches are filled"


async def test_a_team_that_is_larger_than_a_batch_has_batches_of_its_own(app: Teams) -> None:
    await app.enrol({"A": 3, "B": 47, "C": 9, "D": 10, "E": 1})
    push = await app.send()
    await app.cut_all()
    batches, teams = await app.batches(push), await app.teams()
    assert await app.reached_once(push)
    assert max(map(len, batches)) <= 10
    spread = spread_over(batches, teams)
    assert {team: spread[team] for team in "ACDE"} == dict.fromkeys("ACDE", 1)
    assert all({teams[number] for number in batch} == {"B"} for batch in batches if teams[batch[0]] == "B")


@pytest.mark.parametrize(("where", "to"), [("team_id = 'T01'", "T28"), ("team_id = 'T28'", "T01")])
@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
async def test_a_copy_that_changes_team_is_reached_once(app: Teams, where: str, to: str, pieces: int) -> None:
    """From a team that was cut to one that is still to come, and the other way round."""
    await app.enrol({f"T{n:02}": 3 for n in range(30)})
    push = await app.send()
    for _ in range(pieces):
        await app.cut()
    assert len(await app.move(to, where)) == 3
    await app.cut_all()
    assert await app.reached_once(push)


async def test_a_copy_that_changes_team_again_and_again_is_reached_once(app: Teams) -> None:
    await app.enrol({f"T{n:02}": 3 for n in range(30)})
    push = await app.send()
    chance = random.Random(11)
    while await app.cut(piece=7) is not None:
        for _ in range(3):
            await app.move(f"T{chance.randrange(40):02}", "installation_id % 30 = $2", chance.randrange(30))
    assert await app.reached_once(push)


async def test_a_piece_of_a_node_that_died_is_cut_again(app: Teams) -> None:
    await app.enrol({f"T{n:02}": 3 for n in range(30)})
    push = await app.send()
    await app.cut()
    async with app.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await app._broadcasts.cut_by_team(connection, 20, 10, NOW)
        await transaction.rollback()
    await app.move("T00", "team_id = 'T29'")
    await app.move("T29", "team_id = 'T01'")
    await app.cut_all()
    assert await app.reached_once(push)


async def test_a_change_waits_for_the_piece_that_is_being_cut(app: Teams) -> None:
    """What the cut saw and what the change noted fit together, whichever commits first."""
    await app.enrol({f"T{n:02}": 3 for n in range(30)})
    push = await app.send()
    await app.cut()
    async with app.database.transaction() as enrolling:
        await enrolling.execute("UPDATE installation SET team_id = 'T00' WHERE team_id = 'T29'")
        assert await app.cut() is None, "its broadcast is locked: it is left for the next look"
    await app.cut_all()
    assert await app.reached_once(push)


async def test_while_a_node_of_the_version_before_runs_it_can_cut_what_is_new(app: Teams) -> None:
    await app.enrol({"A": 30, "B": 5})
    async with app.database.connection() as connection:
        await connection.execute(
            "INSERT INTO node VALUES ($1, 'old', 1, '0.1.0', '{api}', $2, $2, 0, 0, 0, 0)", uuid4(), NOW
        )
    push = await app.send()
    assert await app.cut() is None
    async with app.database.transaction() as connection:
        piece = await app._broadcasts.cut_broadcast(connection, 20, 10, NOW)
        assert piece is not None
        await app._broadcasts.adopt_broadcasts(connection, NOW + timedelta(hours=1))
        assert await app._broadcasts.cut_by_team(connection, 20, 10, NOW) is None, "begun in the other order"
        await app._broadcasts.cut_broadcast(connection, 20, 10, NOW)
    assert await app.reached_once(push)


async def test_what_is_cancelled_is_cut_no_further_and_leaves_nothing(app: Teams) -> None:
    await app.enrol({f"T{n:02}": 3 for n in range(30)})
    push = await app.send()
    await app.cut()
    await app.move("T00", "team_id = 'T29'")
    async with app.database.transaction() as connection:
        left = await connection.fetchval("SELECT count(*) FROM broadcast_move")
        assert left == 3
    await CancellationRepository(app.database).cancel_push("app", push, None, NOW, COMMAND_LINE)
    assert await app.cut() is None
    async with app.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM open_broadcast") == 0
        assert await connection.fetchval("SELECT count(*) FROM broadcast_move") == 0
