"""The cache of credentials over real rows: looked up in groups, bounded, and never older than it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from relay.core.accounts import Environment
from relay.core.delivery.sending import Credential
from relay.core.errors import Unavailable
from relay.dispatch.credential_cache import CredentialCache, CredentialChoice
from relay.dispatch.dispatcher import Dispatcher
from relay.settings import DispatchSettings
from relay.store.accounts.credentials import NO_CREDENTIAL, Credentials, StoredCredential
from relay.store.database import Database
from relay.store.notifications import NodeNotifier, NotificationTopic
from relay.store.operations.audit import COMMAND_LINE
from tests.eventually import eventually
from tests.factories import NOW, make_new_credential

KEYS = ("a key of more than thirty-two characters",)
PRODUCTION, SANDBOX = Environment.PRODUCTION, Environment.SANDBOX
TEAM, CHESS, GO = "TEAM000001", "com.example.chess", "com.example.go"


class CountingCredentials(Credentials):
    """Stored credentials that count look-ups and decryptions."""

    def __init__(self, database: Database, secret_keys: tuple[str, ...] = KEYS) -> None:
        super().__init__(database, secret_keys)
        self.groups: list[int] = []
        """The number of teams of each look-up."""
        self.decryptions = 0

    async def find_of_teams(self, teams: Sequence[tuple[str, Environment]]) -> list[StoredCredential]:
        self.groups.append(len(teams))
        return await super().find_of_teams(teams)

    def unseal(self, stored: StoredCredential) -> Credential | None:
        self.decryptions += 1
        return super().unseal(stored)


class Known:
    """A cache with its clock, and what it said is inactive."""

    def __init__(self, database: Database, *, max_teams: int = 100) -> None:
        self.time = NOW
        self.inactive: list[int] = []
        self.credentials = CountingCredentials(database)
        self.cache = CredentialCache(
            self.credentials, self, max_teams=max_teams, on_inactive=self.inactive.append
        )

    def now(self) -> datetime:
        return self.time

    async def put(self, team: str = TEAM, bundle_id: str = "", secret: str = "the secret") -> int:
        new = make_new_credential(team_id=team, bundle_id=bundle_id, secret=secret)
        return (await self.credentials.put(new, self.time, COMMAND_LINE)).credential_id

    async def choose(
        self, team: str = TEAM, environment: Environment = PRODUCTION, bundle_id: str = CHESS
    ) -> CredentialChoice:
        return (await self.cache.look_up([(team, environment)])).choose(team, environment, bundle_id)

    async def secret(self, team: str = TEAM, bundle_id: str = CHESS) -> str | None:
        credential = (await self.choose(team, bundle_id=bundle_id)).credential
        return credential and credential.secret


@pytest.fixture
def known(database: Database) -> Known:
    return Known(database)


async def test_a_topic_has_its_own_credential_before_its_teams(known: Known) -> None:
    team = await known.put(secret="team's")
    topic = await known.put(bundle_id=CHESS, secret="topic's")

    async def choose(team_id: str, environment: Environment, bundle_id: str) -> int | None:
        credential, held_by = await known.choose(team_id, environment, bundle_id)
        assert held_by == NO_CREDENTIAL
        return credential.credential_id if credential else None

    assert await choose(TEAM, PRODUCTION, CHESS) == topic
    assert await choose(TEAM, PRODUCTION, GO) == team
    assert await choose(TEAM, SANDBOX, GO) is None
    assert await choose("TEAM000002", PRODUCTION, CHESS) is None
    nothing = await known.cache.look_up([])
    assert nothing.choose(TEAM, PRODUCTION, CHESS) == (None, NO_CREDENTIAL)


async def test_teams_are_looked_up_together_and_once(known: Known) -> None:
    teams = [(f"TEAM{number:06}", PRODUCTION) for number in range(50)]
    for team, _ in teams:
        await known.put(team)
    for _ in range(3):
        credentials = await known.cache.look_up(teams * 2)
        assert all(credentials.choose(*team, CHESS).credential for team in teams)
    assert known.credentials.groups == [50]
    await known.cache.look_up([*teams, ("TEAM999999", PRODUCTION)])
    assert known.credentials.groups == [50, 1]


async def test_a_bounded_number_of_teams_is_kept_and_all_are_found(database: Database) -> None:
    known = Known(database, max_teams=10)
    teams = [(f"TEAM{number:06}", PRODUCTION) for number in range(30)]
    for team, _ in teams:
        await known.put(team)
    credentials = await known.cache.look_up(teams)
    assert all(credentials.choose(*team, CHESS).credential for team in teams)
    assert len(known.cache._entries) == 10
    await known.cache.look_up(teams[20:22])
    await known.cache.look_up(teams[:9])
    await known.cache.look_up(teams[21:22])
    assert known.credentials.groups == [30, 9], "the least recently used ones went first"


async def test_a_secret_is_decrypted_when_it_is_used_first_and_then_kept(known: Known) -> None:
    await known.put()
    await known.put("TEAM000002")
    await known.cache.look_up([(TEAM, PRODUCTION), ("TEAM000002", PRODUCTION)])
    assert known.credentials.decryptions == 0
    for _ in range(5):
        assert await known.secret() == "the secret"
        known.time += timedelta(seconds=11)
    assert known.credentials.decryptions == 1
    assert len(known.credentials.groups) == 5


async def test_what_was_read_grows_old(known: Known) -> None:
    await known.put()
    await known.choose()
    known.time += timedelta(seconds=9)
    await known.choose()
    assert len(known.credentials.groups) == 1
    known.time += timedelta(seconds=1)
    await known.choose()
    assert len(known.credentials.groups) == 2


async def test_a_team_without_a_credential_is_looked_up_sooner(known: Known) -> None:
    """Pushes wait for it."""
    assert await known.choose() == (None, NO_CREDENTIAL)
    await known.put()
    assert await known.secret() is None
    known.time += timedelta(seconds=1)
    assert await known.secret() == "the secret"


async def test_a_suspended_one_holds_its_pushes(known: Known) -> None:
    credential_id = await known.put()
    assert await known.secret() == "the secret"
    await known.credentials.suspend(credential_id, "InvalidProviderToken", known.time)
    known.cache.invalidate()
    known.time += timedelta(seconds=0.001)
    assert await known.choose() == (None, credential_id)
    assert known.inactive == [credential_id], "its connections are closed"
    known.time += timedelta(seconds=1)
    assert await known.choose() == (None, credential_id)
    assert known.inactive == [credential_id], "once"
    await known.credentials.resume(credential_id, known.time, COMMAND_LINE)
    known.time += timedelta(seconds=1)
    assert await known.secret() == "the secret"


async def test_a_removed_one_is_inactive_and_a_replaced_one_is_not(known: Known) -> None:
    team, topic = await known.put(secret="former"), await known.put(bundle_id=CHESS, secret="topic's")
    assert (await known.secret(bundle_id=GO), await known.secret()) == ("former", "topic's")
    await known.put(secret="another")
    await known.credentials.remove(topic, known.time, COMMAND_LINE)
    known.time += timedelta(seconds=10)
    assert (await known.secret(bundle_id=GO), await known.secret()) == ("another", "another")
    assert known.inactive == [topic]
    assert team != topic


async def test_one_that_no_key_opens_is_none_and_said_once(
    known: Known, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await CountingCredentials(database, ("a key that this node does not have.",)).put(
        make_new_credential(), NOW, COMMAND_LINE
    )
    for _ in range(4):
        assert await known.choose() == (None, NO_CREDENTIAL)
        known.time += timedelta(seconds=10)
    assert known.credentials.decryptions == 1
    assert caplog.text.count("no key in keys.credentials decrypts") == 1


async def test_what_apple_refused_is_suspended_and_looked_up_again(known: Known) -> None:
    credential_id = await known.put()
    credential = (await known.choose()).credential
    assert credential is not None
    await known.cache.suspend(credential, "InvalidProviderToken", known.time)
    assert known.inactive == [credential_id]
    assert await known.choose() == (None, credential_id)
    await known.cache.suspend(credential, "InvalidProviderToken", known.time)
    assert known.inactive == [credential_id], "it was suspended already"


async def test_a_suspension_that_cannot_be_stored_comes_again_with_the_next_answer(
    known: Known, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*_: Any, **__: Any) -> bool:
        raise Unavailable("It is away.")

    await known.put()
    credential = (await known.choose()).credential
    assert credential is not None
    monkeypatch.setattr(known.credentials, "suspend", away)
    await known.cache.suspend(credential, "InvalidProviderToken", known.time)
    assert "the next answer brings it again" in caplog.text
    assert known.inactive == []
    assert await known.secret() == "the secret"


class ForgettingSender:
    """A sender with connections for some credentials, which notes those it forgets."""

    def __init__(self) -> None:
        self.connected: list[int] = []

    def credential_ids(self) -> list[int]:
        return list(self.connected)

    async def forget(self, credential_id: int) -> None:
        self.connected.remove(credential_id)


async def test_a_change_made_with_sql_is_noticed_and_closes_connections(
    known: Known, database: Database
) -> None:
    """The database itself says that credentials changed: whoever changed them, and however."""
    suspended, active = await known.put(), await known.put("TEAM000002")
    assert await known.secret() == "the secret"
    sender, ids = ForgettingSender(), count(1)
    sender.connected = [suspended, active, 99]
    dispatcher = Dispatcher(
        database=database,
        credentials=known.cache,
        sender=sender,  # type: ignore[arg-type]  # it sends nothing
        clock=known,
        settings=DispatchSettings(),
        owner=uuid4(),
        batch_id=lambda: next(ids),
        spread=lambda: 0.5,
        on_ended=lambda batches: None,
        on_messages=lambda: None,
    )
    notices: list[None] = []

    def note() -> None:
        notices.append(None)
        dispatcher.credentials_changed()

    notifier = NodeNotifier(database, uuid4(), {NotificationTopic.CREDENTIALS: note})
    listening = asyncio.create_task(notifier.run())
    await eventually(lambda: notices)  # what was missed before
    await eventually(lambda: sender.connected == [suspended, active])
    notices.clear()
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE credential SET state = 'suspended' WHERE credential_id = $1", suspended
        )
    await eventually(lambda: notices)
    await eventually(lambda: sender.connected == [active])
    known.time += timedelta(seconds=0.001)
    assert await known.choose() == (None, suspended)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await dispatcher.aclose(3.0)


async def test_the_inactive_ones_of_some_are_found(known: Known) -> None:
    credential_id = await known.put()
    assert await known.cache.find_inactive([credential_id, 99]) == [99]
