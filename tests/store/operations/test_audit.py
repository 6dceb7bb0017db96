"""The audit log beside the API: what the relay does by itself, and how long entries are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.operations import audit
from relay.store.operations.audit import COMMAND_LINE, RELAY, Actor, AuditAction, AuditEntry, AuditRepository
from tests.factories import make_new_credential

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEM = make_new_credential(secret="the secret")


async def test_a_suspension_is_the_relays_own(database: Database) -> None:
    credentials = Credentials(database, ("a key of at least thirty-two characters",))
    made = await credentials.put(PEM, NOW, COMMAND_LINE)
    later = NOW + timedelta(minutes=1)
    for version in (2, 1, 1):  # another version's, the first, and late news of the same
        await credentials.suspend(made.credential_id, "InvalidProviderToken", later, version=version)
    [entry, _] = await AuditRepository(database).list_entries(None, 10)
    assert (entry.actor, entry.token_id, entry.publisher_id) == (*RELAY, None)
    assert (entry.action, entry.subject, entry.at) == (
        "credential.suspended",
        str(made.credential_id),
        later,
    )
    assert entry.detail["reason"] == "InvalidProviderToken"


async def test_old_entries_go(database: Database) -> None:
    actor = Actor("operator", uuid4())
    async with database.transaction() as connection:
        for day in (3, 1, 5, 2, 4):
            at = NOW + timedelta(days=day)
            await audit.write_entries(connection, actor, at, AuditEntry(AuditAction.APP_CREATED, str(day)))
    log = AuditRepository(database)

    async def kept() -> list[str]:
        return sorted(entry.subject for entry in await log.list_entries(None, 10))

    await log.delete_entries_before(NOW + timedelta(days=3))
    assert await kept() == ["3", "4", "5"]
    await log.delete_entries_before(NOW + timedelta(days=9), at_most=1)
    assert await kept() == ["4", "5"], "the oldest first, some at a time"
