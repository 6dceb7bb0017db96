"""Many teams in one process, over real TLS: whose connection is opened, waited for, and closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import relay
from relay.apns import sender as sender_module
from relay.apns.connection import Submission, Timing
from relay.apns.pool import Endpoint
from relay.apns.sender import ApnsSender, SenderLimits
from relay.core.accounts import Environment
from relay.core.delivery.sending import Credential, SendBatch
from relay.telemetry.metrics import APNS_EVICTIONS
from tests.apns.clients import FAST, OK, Outcome, outcomes
from tests.apns.scripted_server import Peer, ScriptedServer, hang
from tests.eventually import eventually, loop_turns
from tests.factories import make_credential, make_send_batch

Start = Callable[..., Awaitable[ScriptedServer]]


class Teams:
    """A sender with a credential for each team. Teams share a key: only their ids differ."""

    def __init__(
        self,
        key: str,
        servers: dict[Environment, ScriptedServer],
        *,
        timing: Timing = FAST,
        **limits: Any,
    ) -> None:
        self._key = key
        self.sender = ApnsSender(
            {
                environment: Endpoint("localhost", server.port, server.tls.ca_file)
                for environment, server in servers.items()
            },
            limits=SenderLimits(**limits),
            timing=timing,
        )

    def credential(
        self, team: int, environment: Environment = Environment.PRODUCTION, version: int = 1
    ) -> Credential:
        return make_credential(
            credential_id=team,
            version=version,
            team_id=f"TEAM{team:06}",
            environment=environment,
            secret=self._key,
        )

    async def push(self, team: int, count: int = 1, **which: Any) -> list[Outcome]:
        batch = make_send_batch(size=count)
        await self.sender.send(self.credential(team, **which), [batch])
        return outcomes(batch)

    def submit(
        self, team: int, ended: list[int], count: int = 1, *, urgent: bool = False
    ) -> tuple[SendBatch, Submission]:
        """Submit a batch, and note in `ended` when its last push has ended."""
        batch = make_send_batch(size=count)
        credential = self.credential(team)
        submission = self.sender.submit(credential, [batch], lambda: ended.append(team), urgent=urgent)
        return batch, submission


MakeTeams = Callable[..., Teams]


@pytest.fixture
async def make(key: str) -> AsyncIterator[MakeTeams]:
    made: list[Teams] = []

    def make_teams(server: ScriptedServer, sandbox: ScriptedServer | None = None, **options: Any) -> Teams:
        servers = {Environment.PRODUCTION: server, Environment.SANDBOX: sandbox or server}
        made.append(Teams(key, servers, **options))
        return made[-1]

    yield make_teams
    for teams in made:
        await teams.sender.aclose()


class Served:
    """A script that answers everything, and counts connections that are open at one time."""

    def __init__(self) -> None:
        self.open = 0
        self.most_open = 0

    async def __call__(self, peer: Peer) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await peer.serve()
        finally:
            self.open -= 1


async def test_with_more_teams_than_connections_every_push_is_sent(start: Start, make: MakeTeams) -> None:
    served = Served()
    server = await start(served)
    teams = make(server, max_connections=3)
    before = APNS_EVICTIONS._value.get()
    for _ in range(2):
        results = await asyncio.gather(*(teams.push(team, count=4) for team in range(1, 13)))
        assert results == [[OK] * 4] * 12
        assert teams.sender.usage[0] <= 3
    assert served.most_open <= 3
    assert len(server.requests) == 2 * 12 * 4
    evicted = APNS_EVICTIONS._value.get() - before
    assert evicted == len(server.peers) - teams.sender.usage[0]
    await eventually(lambda: sum(peer.goaway == 0 for peer in server.peers) >= evicted)


async def test_a_team_with_a_push_in_flight_keeps_its_connection(start: Start, make: MakeTeams) -> None:
    answering = asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        await answering.wait()
        peer.answer(request)
        await peer.serve()

    server = await start(script)
    teams = make(server, max_connections=1)
    ended: list[int] = []
    first, _ = teams.submit(1, ended)
    await eventually(lambda: server.requests)
    second, _ = teams.submit(2, ended)
    await loop_turns(20)
    opening = teams.sender.opening
    assert opening is not None
    assert opening.waiting == 1
    assert ended == []
    answering.set()
    await eventually(lambda: ended == [1, 2])
    assert outcomes(first) == outcomes(second) == [OK]
    assert [len(peer.requests) for peer in server.peers] == [1, 1]


async def test_a_connection_that_was_used_lately_stays(start: Start, make: MakeTeams) -> None:
    server = await start(lambda peer: peer.serve())
    teams = make(server, max_connections=2)
    for team in (1, 2, 1, 3, 1):
        assert await teams.push(team) == [OK]
    assert [len(peer.requests) for peer in server.peers] == [3, 1, 1]


async def test_a_push_waits_for_its_own_handshake_only(start: Start, make: MakeTeams) -> None:
    silent = await start(hang, silent=True)
    server = await start(lambda peer: peer.serve())
    teams = make(silent, server, timing=Timing(connect=2.0, tick=0.05, drain=0.2))
    ended: list[int] = []
    hanging, _ = teams.submit(1, ended)
    assert await teams.push(2, environment=Environment.SANDBOX) == [OK]
    assert ended == []
    await eventually(lambda: ended)
    assert outcomes(hanging) == [Outcome("not_sent", 0, "ConnectTimeout")]


async def test_a_failed_handshake_ends_all_that_waits_for_it_and_what_follows_soon(
    start: Start, make: MakeTeams
) -> None:
    async def script(peer: Peer) -> None:
        peer.abort()

    server = await start(script, silent=True)
    teams = make(server)
    failed = [Outcome("not_sent", 0, "ConnectFailed")] * 2
    assert await asyncio.gather(*(teams.push(1, count=2) for _ in range(3))) == [failed] * 3
    attempts = len(server.peers)
    assert await teams.push(1, count=2) == failed
    assert len(server.peers) == attempts, "the next attempt has to wait"
    assert teams.sender.credential_ids() == [1], "it is kept, because it remembers the failure"


async def test_an_address_that_refuses_or_hangs_comes_last(
    start: Start, make: MakeTeams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that refuses costs nothing, one that hangs costs the push that met it."""
    server = await start(lambda peer: peer.serve())
    answer = ["127.0.0.3", "127.0.0.1"]

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    refusing = make(server)
    assert await refusing.push(1) == [OK]
    answer[0] = "127.0.0.2"
    with socket.create_server(("127.0.0.2", server.port)):  # its kernel accepts, and nothing more is heard
        hanging = make(server, timing=Timing(connect=1.0, tick=0.05, drain=0.2))
        assert await hanging.push(1) == [Outcome("not_sent", 0, "ConnectTimeout")]
        assert await hanging.push(2) == [OK]
        assert await hanging.push(3) == [OK]


async def test_what_waits_for_a_connection_can_be_withdrawn(start: Start, make: MakeTeams) -> None:
    server = await start(hang, silent=True)
    teams = make(server)
    ended: list[int] = []
    batch, submission = teams.submit(1, ended, count=3)
    teams.sender.withdraw(submission)
    assert ended == [1]
    assert outcomes(batch) == [Outcome("not_sent", 0, "Cancelled")] * 3


async def test_what_has_left_stays_when_it_is_withdrawn(start: Start, make: MakeTeams) -> None:
    server = await start(hang, {3: 1})
    teams = make(server, connections_per_credential=1)
    ended: list[int] = []
    batch, submission = teams.submit(1, ended, count=2)
    await eventually(lambda: server.requests)
    teams.sender.withdraw(submission)
    assert batch.answers[1] is not None
    assert batch.answers[1].reason == "Cancelled"
    assert len(server.requests) == 1


async def test_forgetting_a_credential_ends_what_waits(start: Start, make: MakeTeams) -> None:
    server = await start(hang, silent=True)
    teams = make(server, max_connections=1)
    ended: list[int] = []
    connecting, _ = teams.submit(1, ended)
    queued, _ = teams.submit(2, ended)
    for team in (1, 2):
        await teams.sender.forget(team)
    assert ended == [1, 2]
    assert outcomes(connecting) == outcomes(queued) == [Outcome("not_sent", 0, "Closed")]
    assert teams.sender.credential_ids() == []
    await teams.sender.forget(3)


async def test_closing_ends_what_waits_and_takes_no_more(start: Start, make: MakeTeams) -> None:
    server = await start(hang, silent=True)
    teams = make(server, max_connections=1)
    ended: list[int] = []
    batches = [teams.submit(team, ended)[0] for team in (1, 2)]
    await eventually(lambda: server.peers)
    await teams.sender.aclose()
    assert sorted(ended) == [1, 2]
    assert [outcomes(batch) for batch in batches] == [[Outcome("not_sent", 0, "Closed")]] * 2
    late, submission = teams.submit(3, ended)
    assert outcomes(late) == [Outcome("not_sent", 0, "Closed")]
    teams.sender.withdraw(submission)
    assert ended[2:] == [3]


async def test_single_pushes_are_connected_before_bulk(start: Start, make: MakeTeams) -> None:
    order: list[int] = []
    server = await start(lambda peer: peer.serve())
    teams = make(server, connects_per_second=5.0)
    for team in range(1, 9):
        teams.submit(team, order)
    opening = teams.sender.opening
    assert opening is not None
    waited = opening.waiting
    assert waited >= 6
    assert opening.seconds_until_turn() == pytest.approx(waited / 5)
    teams.submit(100, order, urgent=True)
    teams.submit(8, order, urgent=True)  # its pool is in the queue already
    await eventually(lambda: len(order) == 10)
    late = order[8 - waited :]
    assert [team for team in late if team in (100, 8)] == [100, 8, 8]
    assert late.index(8) < late.index(7)
    assert late.index(100) < late.index(7)


async def test_without_a_push_there_is_nothing(start: Start, make: MakeTeams) -> None:
    teams = make(await start(hang))
    assert teams.sender.opening is None
    assert teams.sender.usage == (0, 0)
    assert teams.sender.credential_ids() == []


async def test_a_cold_team_with_more_pushes_than_streams_gets_a_second_connection(
    start: Start, make: MakeTeams
) -> None:
    """It is asked for when the first one takes what has waited for it."""
    server = await start(hang, {3: 1})
    teams = make(server, connections_per_credential=2)
    ended: list[int] = []
    teams.submit(1, ended, count=5)
    await eventually(lambda: teams.sender.usage[0] == 2)


async def test_only_a_bounded_number_of_pools_without_connections_is_kept(
    start: Start, make: MakeTeams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "MAX_EMPTY_POOLS", 2)
    server = await start(lambda peer: peer.serve())
    teams = make(server, max_connections=1)
    for team in range(1, 8):
        assert await teams.push(team) == [OK]
    await eventually(lambda: len(teams.sender.credential_ids()) == 3)
    assert teams.sender.credential_ids() == [5, 6, 7]
    assert await teams.push(1) == [OK], "a pool is made again when it is needed"


RELAY_FOLDER = str(Path(relay.__file__).parent)


def of_the_relay(function: Any) -> bool:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and code.co_filename.startswith(RELAY_FOLDER)


async def test_an_idle_connection_holds_neither_a_task_nor_a_timer(start: Start, make: MakeTeams) -> None:
    """All of them share the timer of the wheel, and that is the one of the next PING."""
    server = await start(lambda peer: peer.serve())
    teams = make(server)
    for team in range(1, 11):
        assert await teams.push(team) == [OK]
    await loop_turns(20)
    assert teams.sender.usage == (10, 0)
    loop = asyncio.get_running_loop()
    coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
    tasks = [each for each in coroutines if each.cr_code.co_filename.startswith(RELAY_FOLDER)]
    assert tasks == []
    timers = [
        timer
        for timer in loop._scheduled  # type: ignore[attr-defined]
        if not timer.cancelled() and of_the_relay(timer._callback)
    ]
    assert len(timers) == 1
