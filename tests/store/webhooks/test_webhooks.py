"""Webhooks at rest: their secrets are encrypted, and rotated together with those of credentials."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from relay.core.errors import Conflict
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.encryption import UndecryptableSecret
from relay.store.key_rotation import Rotation, rotate_keys
from relay.store.operations.audit import COMMAND_LINE, AuditRepository
from relay.store.webhooks.records import NewWebhook
from relay.store.webhooks.webhooks import WebhookRepository
from tests.factories import make_new_credential
from tests.store.accounts.stored_credentials import unseal_all

OLD, NEW = "an old key of thirty-two characters..", "a new key of thirty-two characters.."
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUBLISHER, WEBHOOK = uuid4(), uuid4()


@pytest.fixture
async def app(database: Database) -> str:
    async with database.connection() as connection:
        await connection.execute("INSERT INTO publisher VALUES ($1, 'P', $2)", PUBLISHER, NOW)
        await connection.execute("INSERT INTO app VALUES ('chess', $1, 'A', $2)", PUBLISHER, NOW)
    return "chess"


async def put(webhooks: WebhookRepository, webhook_id: UUID, secret: str = "the secret") -> None:
    new = NewWebhook("chess", webhook_id, "https://chess.example/a/path", ["push.completed"], secret)
    assert await webhooks.create_webhook(new, PUBLISHER, NOW, COMMAND_LINE)


async def secret_of(webhooks: WebhookRepository) -> str:
    destination = await webhooks.find_destination("chess", WEBHOOK)
    assert destination is not None
    return destination.secret


async def test_a_secret_is_encrypted_and_not_as_a_credential_is(database: Database, app: str) -> None:
    await put(WebhookRepository(database, (OLD,)), WEBHOOK)
    assert await secret_of(WebhookRepository(database, (OLD, NEW))) == "the secret"
    with pytest.raises(UndecryptableSecret):
        await WebhookRepository(database, (NEW,)).find_destination("chess", WEBHOOK)
    async with database.connection() as connection:
        sealed = await connection.fetchval("SELECT secret FROM webhook")
        assert b"the secret" not in sealed
        await connection.execute(
            "INSERT INTO credential (team_id, environment, kind, secret, state_since, created_at) "
            "VALUES ('TEAM000001', 'production', 'token', $1, $2, $2)",
            sealed,
            NOW,
        )
    assert await unseal_all(database, Credentials(database, (OLD,))) == []
    assert "the secret" not in repr(
        await WebhookRepository(database, (OLD,)).find_destination("chess", WEBHOOK)
    )


async def test_one_rotation_is_of_webhooks_and_credentials(database: Database, app: str) -> None:
    await put(WebhookRepository(database, (OLD,)), WEBHOOK)
    key = make_new_credential(secret="Apple's")
    await Credentials(database, (OLD,)).put(key, NOW, COMMAND_LINE)
    both = OLD, NEW
    stores = [Credentials(database, both), WebhookRepository(database, both)]
    assert await rotate_keys(database, stores, NOW, COMMAND_LINE) == [Rotation(1, 1), Rotation(1, 1)]
    assert await secret_of(WebhookRepository(database, (NEW,))) == "the secret"
    assert await rotate_keys(database, stores, NOW, COMMAND_LINE) == [Rotation(1, 0), Rotation(1, 0)]
    entries = await AuditRepository(database).list_entries_of_publisher(PUBLISHER, None, 10)
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("webhook.reencrypted", str(WEBHOOK)),
        ("webhook.created", str(WEBHOOK)),
    ]
    assert entries[0].detail == {"app_id": "chess", "host": "chess.example"}, "not the path"


async def test_a_webhook_that_no_key_opens_stops_all_of_it(database: Database, app: str) -> None:
    lost, key = uuid4(), "a forgotten key of some characters"
    await put(WebhookRepository(database, (OLD,)), WEBHOOK)
    await put(WebhookRepository(database, (key,)), lost)
    stores = [Credentials(database, (OLD, NEW)), WebhookRepository(database, (OLD, NEW))]
    with pytest.raises(Conflict, match=rf"decrypts webhook {lost}\. Nothing was changed"):
        await rotate_keys(database, stores, NOW, COMMAND_LINE)
    assert await secret_of(WebhookRepository(database, (OLD,))) == "the secret"
