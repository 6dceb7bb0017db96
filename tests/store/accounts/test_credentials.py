"""Credentials: encrypted at rest, chosen by topic, suspended and resumed."""

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
    """Store a batch that waits for the credential."""
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


async def test_a_topic_finds_its_own_credential_before_its_teams(credentials: Credentials) -> None:
    team = await credentials.put(key("team's"), NOW, OPERATOR)
    topic = await credentials.put(key("topic's", bundle_id="com.example.chess"), NOW, OPERATOR)
    book = await credentials.load()
    assert len(book) == 2

    def found(team_id: str, environment: Environment, bundle_id: str) -> int | None:
        credential = book.find(team_id, environment, bundle_id)
        return credential.credential_id if credential else None

    assert found("TEAM000001", PRODUCTION, "com.example.chess") == topic.credential_id
    assert found("TEAM000001", PRODUCTION, "com.example.go") == team.credential_id
    assert found("TEAM000001", SANDBOX, "com.example.go") is None
    assert found("TEAM000002", PRODUCTION, "com.example.chess") is None
    assert {credential.secret for credential in book} == {"team's", "topic's"}
    assert "topic's" not in repr(list(book))


async def test_secrets_survive_key_rotation(database: Database) -> None:
    await Credentials(database, (OLD,)).put(key(), NOW, OPERATOR)
    assert [stored.secret for stored in await Credentials(database, (OLD, NEW)).load()] == ["the secret"]
    async with database.connection() as connection:
        assert b"the secret" not in await connection.fetchval("SELECT secret FROM credential")


async def test_after_a_rotation_the_old_key_can_go(database: Database) -> None:
    old, new = Credentials(database, (OLD,)), Credentials(database, (NEW,))
    for bundle_id in ("", "com.example.chess"):
        await old.put(key(f"of {bundle_id}", bundle_id=bundle_id), NOW, OPERATOR)
    await new.put(key("known", environment=SANDBOX), NOW, OPERATOR)
    running = Credentials(database, (OLD, NEW))
    before = {credential.credential_id: credential for credential in await running.load()}
    assert await rotate_keys(database, [running], LATER, OPERATOR) == [Rotation(stored=3, anew=2)]

    after = {credential.credential_id: credential for credential in await new.load()}
    assert {credential.secret for credential in after.values()} == {"of ", "of com.example.chess", "known"}
    assert after == before, "versions are unchanged, so connections stay open"
    assert all(credential is before[credential.credential_id] for credential in await running.load()), (
        "unchanged credentials are not decrypted again"
    )
    assert len(await old.load()) == 0
    assert await rotate_keys(database, [running], LATER, OPERATOR) == [Rotation(stored=3, anew=0)]
    entries = await AuditRepository(database).list_entries(None, 10)
    assert sorted(entry.subject for entry in entries if entry.action == "credential.reencrypted") == sorted(
        str(credential.credential_id) for credential in before.values() if credential.secret != "known"
    )


async def test_a_rotation_that_lacks_a_key_changes_nothing(database: Database) -> None:
    await Credentials(database, (OLD,)).put(key(), NOW, OPERATOR)
    lost = await Credentials(database, ("a forgotten key of some characters",)).put(
        key(environment=SANDBOX), NOW, OPERATOR
    )
    with pytest.raises(Conflict, match=rf"decrypts credential {lost.credential_id}\. Nothing was changed"):
        await rotate_keys(database, [Credentials(database, (OLD, NEW))], LATER, OPERATOR)
    assert [credential.secret for credential in await Credentials(database, (OLD,)).load()] == ["the secret"]


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_rotation_keeps_concurrent_changes_of_another_node(database: Database, deleted: bool) -> None:
    """The other node's transaction is open when the rotation begins: its new secret is kept."""
    old = Credentials(database, (OLD,))
    former = await old.put(key("the former"), NOW, OPERATOR)
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
            if deleted
            else "UPDATE credential SET secret = $2, version = version + 1 WHERE credential_id = $1",
            *([former.credential_id] if deleted else [former.credential_id, secret]),
        )
        both = Credentials(database, (OLD, NEW))
        rotating = asyncio.create_task(rotate_keys(database, [both], LATER, OPERATOR))
        await eventually(lambda: connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await transaction.commit()
    assert await rotating == [Rotation(stored=1 if deleted else 2, anew=0)]
    loaded = {
        credential.credential_id: (credential.secret, credential.version)
        for credential in await elsewhere.load()
    }
    kept = {other.credential_id: ("another's", 1)}
    assert loaded == (kept if deleted else kept | {former.credential_id: ("another's", 2)})


async def test_a_credential_without_its_key_does_not_hide_the_others(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    lost = await Credentials(database, (OLD,)).put(key(), NOW, OPERATOR)
    known = Credentials(database, (NEW,))
    await known.put(key("known", environment=SANDBOX), NOW, OPERATOR)
    with caplog.at_level(logging.ERROR):
        assert [credential.secret for credential in await known.load()] == ["known"]
    assert f"'credential_id': {lost.credential_id}" in caplog.text


async def test_suspended_until_resumed(database: Database, credentials: Credentials) -> None:
    created = await credentials.put(key(), NOW, OPERATOR)
    assert await credentials.suspend(created.credential_id, "InvalidProviderToken", NOW)
    assert not await credentials.suspend(created.credential_id, "again", LATER), "the first reason stays"
    assert (await credentials.load()).is_suspended(created.credential_id)
    [shown] = await credentials.page(0, 10)
    assert (shown.state, shown.state_reason) == ("suspended", "InvalidProviderToken")

    for held_by in (created.credential_id, created.credential_id + 1):
        await hold(database, held_by)
    assert await credentials.resume(created.credential_id, NOW, OPERATOR)
    assert not (await credentials.load()).is_suspended(created.credential_id)
    assert await due(database) == [(NOW, None), (LATER, created.credential_id + 1)]
    assert not await credentials.resume(99, NOW, OPERATOR)


async def test_a_replaced_secret_is_active_and_releases_held_batches(
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
    assert not (await credentials.load()).is_suspended(team.credential_id)
    assert await credentials.suspend(team.credential_id, "true", NOW, version=2)


async def test_a_new_credential_of_a_topic_releases_batches_held_by_the_teams(
    database: Database, credentials: Credentials
) -> None:
    team = await credentials.put(key(), NOW, OPERATOR)
    other = await credentials.put(key(environment=SANDBOX), NOW, OPERATOR)
    for held_by in (team.credential_id, other.credential_id):
        await hold(database, held_by)
    await credentials.put(key(bundle_id="com.example.chess"), NOW, OPERATOR)
    assert await due(database) == [(NOW, None), (LATER, other.credential_id)]


async def test_a_late_refusal_does_not_suspend_a_credential_resumed_since(credentials: Credentials) -> None:
    created = await credentials.put(key(), NOW, OPERATOR)
    for sent_at, suspended in ((NOW, True), (LATER - timedelta(seconds=1), False), (LATER, True)):
        moment = LATER + timedelta(seconds=1)
        assert await credentials.suspend(created.credential_id, "x", moment, sent_at=sent_at) is suspended
        if suspended and sent_at == NOW:
            await credentials.resume(created.credential_id, LATER, OPERATOR)


async def test_all_held_batches_are_released_in_pieces(
    database: Database, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.accounts.credentials._PIECE", 2)
    created = await credentials.put(key(), NOW, OPERATOR)
    for _ in range(5):
        await hold(database, created.credential_id)
    async with database.connection() as connection:
        await connection.execute("UPDATE batch SET last_reason = 'CredentialSuspended'")
    await credentials.resume(created.credential_id, NOW, OPERATOR)
    assert await due(database) == [(NOW, None)] * 5
    async with database.connection() as connection:  # a node with a stale credential holds them only briefly
        assert await connection.fetchval("SELECT count(*) FROM batch WHERE last_reason = ''") == 5


async def test_removing_a_credential_releases_held_batches(
    database: Database, credentials: Credentials
) -> None:
    created = await credentials.put(key(), NOW, OPERATOR)
    await hold(database, created.credential_id)
    assert await credentials.remove(created.credential_id, NOW, OPERATOR)
    assert not await credentials.remove(created.credential_id, NOW, OPERATOR)
    assert await due(database) == [(NOW, None)]
    assert len(await credentials.load()) == 0


def test_nothing_shows_a_secret() -> None:
    assert "the secret" not in repr(key())
    assert "secret" not in CredentialDescription.__dataclass_fields__
