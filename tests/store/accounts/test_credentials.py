"""Credentials: encrypted at rest, found by topic, suspended and resumed."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from relay.core.accounts import Environment
from relay.core.errors import Conflict
from relay.store.accounts.credentials import CredentialDescription, Credentials, NewCredential
from relay.store.database import Database
from relay.store.key_rotation import Rotation, rotate_keys
from relay.store.operations.audit import Actor, ActorKind, AuditRepository
from tests.eventually import eventually
from tests.factories import make_new_credential
from tests.store.accounts.stored_credentials import unseal_all

OLD, NEW = "an old key of thirty-two characters..", "a new key of thirty-two characters.."
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OPERATOR = Actor(ActorKind.OPERATOR, uuid4())
PRODUCTION, SANDBOX = Environment.PRODUCTION, Environment.SANDBOX


def key(
    secret: str = "the secret", *, bundle_id: str = "", environment: Environment = PRODUCTION
) -> NewCredential:
    return make_new_credential(environment=environment, bundle_id=bundle_id, secret=secret)


async def hold(database: Database, credential_id: int) -> None:
    """A batch that waits for a credential."""
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, due_at, held_by, installations) "
            "OVERRIDING SYSTEM VALUE VALUES ('chess', $1, $4, false, $2, $3, '{1}')",
            uuid4(),
            LATER,
            credential_id,
            uuid4().int % 2**62,
        )


async def due(database: Database) -> list[tuple[datetime, int | None]]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT due_at, held_by FROM batch ORDER BY due_at, held_by")
        return [(row["due_at"], row["held_by"]) for row in rows]


@pytest.fixture
def credentials(database: Database) -> Credentials:
    return Credentials(database, (OLD, NEW))


async def test_credentials_are_found_by_team_and_environment(
    database: Database, credentials: Credentials
) -> None:
    team = await credentials.put(key("team's"), NOW, OPERATOR)
    topic = await credentials.put(key("topic's", bundle_id="com.example.chess"), NOW, OPERATOR)
    sandbox = await credentials.put(key("sandbox's", environment=SANDBOX), NOW, OPERATOR)

    async def find(*teams: tuple[str, Environment]) -> set[int]:
        return {stored.credential_id for stored in await credentials.find_of_teams(teams)}

    assert await find(("TEAM000001", PRODUCTION)) == {team.credential_id, topic.credential_id}
    assert await find(("TEAM000001", SANDBOX)) == {sandbox.credential_id}
    assert await find(("TEAM000002", PRODUCTION), ("TEAM000001", SANDBOX)) == {sandbox.credential_id}
    assert await find(("TEAM000002", PRODUCTION)) == set()
    assert await find() == set()
    unsealed = await unseal_all(database, credentials)
    assert {credential.secret for credential in unsealed} == {"team's", "topic's", "sandbox's"}
    assert "topic's" not in repr(unsealed)


async def test_what_is_found_is_still_encrypted(credentials: Credentials) -> None:
    await credentials.put(key("the secret"), NOW, OPERATOR)
    [stored] = await credentials.find_of_teams([("TEAM000001", PRODUCTION)])
    assert b"the secret" not in stored.sealed
    assert "sealed" not in repr(stored)


async def test_suspended_and_removed_ones_are_inactive(credentials: Credentials) -> None:
    active = await credentials.put(key(), NOW, OPERATOR)
    suspended = await credentials.put(key(environment=SANDBOX), NOW, OPERATOR)
    removed = await credentials.put(key(bundle_id="com.example.chess"), NOW, OPERATOR)
    await credentials.suspend(suspended.credential_id, "InvalidProviderToken", NOW)
    await credentials.remove(removed.credential_id, NOW, OPERATOR)
    ids = [suspended.credential_id, active.credential_id, removed.credential_id]
    assert await credentials.find_inactive(ids) == [suspended.credential_id, removed.credential_id]
    assert await credentials.find_inactive([]) == []


async def test_secrets_survive_key_rotation(database: Database) -> None:
    await Credentials(database, (OLD,)).put(key(), NOW, OPERATOR)
    assert [one.secret for one in await unseal_all(database, Credentials(database, (OLD, NEW)))] == [
        "the secret"
    ]
    async with database.connection() as connection:
        assert b"the secret" not in await connection.fetchval("SELECT secret FROM credential")


async def test_after_a_rotation_the_old_key_can_go(database: Database) -> None:
    old, new = Credentials(database, (OLD,)), Credentials(database, (NEW,))
    for bundle_id in ("", "com.example.chess"):
        await old.put(key(f"of {bundle_id}", bundle_id=bundle_id), NOW, OPERATOR)
    await new.put(key("known", environment=SANDBOX), NOW, OPERATOR)
    running = Credentials(database, (OLD, NEW))
    before = {one.credential_id: one for one in await unseal_all(database, running)}
    assert await rotate_keys(database, [running], LATER, OPERATOR) == [Rotation(stored=3, anew=2)]

    after = {one.credential_id: one for one in await unseal_all(database, new)}
    assert {one.secret for one in after.values()} == {"of ", "of com.example.chess", "known"}
    assert after == before, "the same versions: connections stay"
    assert await unseal_all(database, running) == list(before.values())
    assert len(await unseal_all(database, old)) == 0
    assert await rotate_keys(database, [running], LATER, OPERATOR) == [Rotation(stored=3, anew=0)]
    entries = await AuditRepository(database).list_entries(None, 10)
    assert sorted(entry.subject for entry in entries if entry.action == "credential.reencrypted") == sorted(
        str(one.credential_id) for one in before.values() if one.secret != "known"
    )


async def test_a_rotation_that_lacks_a_key_changes_nothing(database: Database) -> None:
    await Credentials(database, (OLD,)).put(key(), NOW, OPERATOR)
    lost = await Credentials(database, ("a forgotten key of some characters",)).put(
        key(environment=SANDBOX), NOW, OPERATOR
    )
    with pytest.raises(Conflict, match=rf"decrypts credential {lost.credential_id}\. Nothing was changed"):
        await rotate_keys(database, [Credentials(database, (OLD, NEW))], LATER, OPERATOR)
    assert [one.secret for one in await unseal_all(database, Credentials(database, (OLD,)))] == ["the secret"]


@pytest.mark.parametrize("gone", [False, True])
async def test_a_rotation_leaves_what_another_node_does_meanwhile(database: Database, gone: bool) -> None:
    """The other node's transaction is open when the rotation begins: its secret is kept, and not its former one."""
    old = Credentials(database, (OLD,))
    made = await old.put(key("the former"), NOW, OPERATOR)
    elsewhere = Credentials(database, (NEW,))
    other = await elsewhere.put(key("another's", environment=SANDBOX), NOW, OPERATOR)
    async with database.connection() as connection:
        secret = await connection.fetchval(
            "SELECT secret FROM credential WHERE credential_id = $1", other.credential_id
        )
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "DELETE FROM credential WHERE credential_id = $1"
            if gone
            else "UPDATE credential SET secret = $2, version = version + 1 WHERE credential_id = $1",
            *([made.credential_id] if gone else [made.credential_id, secret]),
        )
        both = Credentials(database, (OLD, NEW))
        rotating = asyncio.create_task(rotate_keys(database, [both], LATER, OPERATOR))
        await eventually(lambda: connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await transaction.commit()
    assert await rotating == [Rotation(stored=1 if gone else 2, anew=0)]
    book = {one.credential_id: (one.secret, one.version) for one in await unseal_all(database, elsewhere)}
    kept = {other.credential_id: ("another's", 1)}
    assert book == (kept if gone else kept | {made.credential_id: ("another's", 2)})


async def test_one_that_no_key_opens_does_not_hide_the_others(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    lost = await Credentials(database, (OLD,)).put(key(), NOW, OPERATOR)
    known = Credentials(database, (NEW,))
    await known.put(key("known", environment=SANDBOX), NOW, OPERATOR)
    with caplog.at_level(logging.ERROR):
        assert [one.secret for one in await unseal_all(database, known)] == ["known"]
    assert f"'credential_id': {lost.credential_id}" in caplog.text


async def test_suspended_until_resumed(database: Database, credentials: Credentials) -> None:
    made = await credentials.put(key(), NOW, OPERATOR)
    assert await credentials.suspend(made.credential_id, "InvalidProviderToken", NOW)
    assert not await credentials.suspend(made.credential_id, "again", LATER), "the first reason stays"
    assert await credentials.find_inactive([made.credential_id])
    [shown] = await credentials.page(0, 10)
    assert (shown.state, shown.state_reason) == ("suspended", "InvalidProviderToken")

    for held_by in (made.credential_id, made.credential_id + 1):
        await hold(database, held_by)
    assert await credentials.resume(made.credential_id, NOW, OPERATOR)
    assert not await credentials.find_inactive([made.credential_id])
    assert await due(database) == [(NOW, None), (LATER, made.credential_id + 1)]
    assert not await credentials.resume(99, NOW, OPERATOR)


async def test_a_replaced_secret_is_active_and_frees_what_waited(
    database: Database, credentials: Credentials
) -> None:
    team = await credentials.put(key(), NOW, OPERATOR)
    await credentials.suspend(team.credential_id, "InvalidProviderToken", NOW)
    for held_by in (team.credential_id, 0):
        await hold(database, held_by)
    again = await credentials.put(key("another"), NOW, OPERATOR)
    assert (again.credential_id, again.version, again.state) == (team.credential_id, 2, "active")
    assert await due(database) == [(NOW, None), (NOW, None)]
    assert not await credentials.suspend(team.credential_id, "late news", NOW, version=1)
    assert not await credentials.find_inactive([team.credential_id])
    assert await credentials.suspend(team.credential_id, "true", NOW, version=2)


async def test_a_topics_own_credential_frees_what_waited_for_the_teams(
    database: Database, credentials: Credentials
) -> None:
    team = await credentials.put(key(), NOW, OPERATOR)
    other = await credentials.put(key(environment=SANDBOX), NOW, OPERATOR)
    for held_by in (team.credential_id, other.credential_id):
        await hold(database, held_by)
    await credentials.put(key(bundle_id="com.example.chess"), NOW, OPERATOR)
    assert await due(database) == [(NOW, None), (LATER, other.credential_id)]


async def test_a_late_refusal_does_not_suspend_what_was_resumed_since(credentials: Credentials) -> None:
    made = await credentials.put(key(), NOW, OPERATOR)
    for sent_at, suspended in ((NOW, True), (LATER - timedelta(seconds=1), False), (LATER, True)):
        moment = LATER + timedelta(seconds=1)
        assert await credentials.suspend(made.credential_id, "x", moment, sent_at=sent_at) is suspended
        if suspended and sent_at == NOW:
            await credentials.resume(made.credential_id, LATER, OPERATOR)


async def test_however_much_waited_all_of_it_is_freed(
    database: Database, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.accounts.credentials._PIECE", 2)
    made = await credentials.put(key(), NOW, OPERATOR)
    for _ in range(5):
        await hold(database, made.credential_id)
    async with database.connection() as connection:
        await connection.execute("UPDATE batch SET last_reason = 'CredentialSuspended'")
    await credentials.resume(made.credential_id, NOW, OPERATOR)
    assert await due(database) == [(NOW, None)] * 5
    async with database.connection() as connection:  # a node with old news holds them for a short while only
        assert await connection.fetchval("SELECT count(*) FROM batch WHERE last_reason = ''") == 5


async def test_removing_frees_what_waited(database: Database, credentials: Credentials) -> None:
    made = await credentials.put(key(), NOW, OPERATOR)
    await hold(database, made.credential_id)
    assert await credentials.remove(made.credential_id, NOW, OPERATOR)
    assert not await credentials.remove(made.credential_id, NOW, OPERATOR)
    assert await due(database) == [(NOW, None)]
    assert await unseal_all(database, credentials) == []


def test_nothing_shows_a_secret() -> None:
    assert "the secret" not in repr(key())
    assert "secret" not in CredentialDescription.__dataclass_fields__
