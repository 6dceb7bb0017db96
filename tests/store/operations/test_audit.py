"""The audit log: entries of the relay itself, filtered searches, and the deletion of old entries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import (
    COMMAND_LINE,
    RELAY,
    Actor,
    ActorKind,
    AuditAction,
    AuditEntry,
    AuditFilter,
    AuditRepository,
)
from tests.factories import make_new_credential

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEM = make_new_credential(secret="the secret")


async def test_a_suspension_is_logged_once_as_done_by_the_relay(database: Database) -> None:
    credentials = Credentials(database, ("a key of at least thirty-two characters",))
    credential = await credentials.put(PEM, NOW, COMMAND_LINE)
    later = NOW + timedelta(minutes=1)
    for version in (2, 1, 1):  # of another version, of this one, and once more
        await credentials.suspend(credential.credential_id, "InvalidProviderToken", later, version=version)
    [entry, _] = await AuditRepository(database).list_entries(None, 10)
    assert (entry.actor, entry.token_id, entry.publisher_id) == (*RELAY, None)
    assert (entry.action, entry.subject, entry.at) == (
        "credential.suspended",
        str(credential.credential_id),
        later,
    )
    assert entry.detail["reason"] == "InvalidProviderToken"


async def test_old_entries_are_deleted_the_oldest_first(database: Database) -> None:
    actor = Actor(ActorKind.OPERATOR, uuid4())
    async with database.transaction() as connection:
        for day in (3, 1, 5, 2, 4):
            at = NOW + timedelta(days=day)
            await audit.write_entries(connection, actor, at, AuditEntry(AuditAction.APP_CREATED, str(day)))
    log = AuditRepository(database)

    async def remaining() -> list[str]:
        return sorted(entry.subject for entry in await log.list_entries(None, 10))

    await log.delete_entries_before(NOW + timedelta(days=3))
    assert await remaining() == ["3", "4", "5"]
    await log.delete_entries_before(NOW + timedelta(days=9), at_most=1)
    assert await remaining() == ["4", "5"], "at most one was deleted, the oldest"


async def test_a_search_pages_through_the_entries_that_match(database: Database) -> None:
    publisher = uuid4()
    async with database.transaction() as connection:
        for number in range(6):
            entry = AuditEntry(
                AuditAction.APP_CREATED if number % 2 else AuditAction.APP_CHANGED,
                str(number),
                publisher if number >= 4 else None,
            )
            await audit.write_entries(connection, COMMAND_LINE, NOW, entry)
    log = AuditRepository(database)
    for wanted, expected in (
        (AuditFilter(), ["5", "4", "3", "2", "1", "0"]),
        (AuditFilter(action="app.created"), ["5", "3", "1"]),
        (AuditFilter(actor="operator", publisher_id=publisher), ["5", "4"]),
        (AuditFilter(actor="relay"), []),
        (AuditFilter(subject="2"), ["2"]),
    ):
        subjects: list[str] = []
        before: int | None = None
        while True:
            page = await log.search_entries(wanted, before, 2)
            subjects += [entry.subject for entry in page.entries]
            if page.older is None:
                break
            before = page.older
        assert subjects == expected, wanted
    of_publisher = await log.list_entries_of_publisher(publisher, None, 10)
    assert [entry.subject for entry in of_publisher] == ["5", "4"]
