"""The work of commands on tokens and keys, in the database. Running relays are not disturbed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.core.api_tokens import kind_of_token
from relay.core.install_tokens import PREFIX, InstallTokens
from relay.keys import key_ring
from relay.node.clock import SystemClock
from relay.settings import Settings
from relay.store.accounts.api_tokens import (
    ApiTokenRepository,
    TokenDescription,
    TokenFilter,
    create_operator_token,
)
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.installations.installations import InstallationRepository
from relay.store.key_rotation import Rotation, rotate_keys
from relay.store.migrations import SchemaMigrator
from relay.store.operations.audit import COMMAND_LINE
from relay.store.webhooks.webhooks import WebhookRepository

_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class FoundToken:
    """The result of examining a found token.

    `known`: this relay issued it. `what`: a sentence about it. `token`: the stored API token. `installation_uuid` and
    `app_id`: the owner of an install_ token. `revoked_now`: this command revoked it.
    """

    kind: str | None
    known: bool
    state: str
    what: str
    token: TokenDescription | None = None
    installation_uuid: UUID | None = None
    app_id: str | None = None
    revoked_now: bool = False


async def reencrypt_secrets(settings: Settings, database: Database) -> tuple[Rotation, Rotation]:
    """Encrypt all stored secrets with the newest key of keys.credentials.

    Returns how many secrets of credentials, and of webhooks, exist and were encrypted.

    Raises:
        Conflict: no key decrypts one of them. Then nothing is changed.
    """
    keys = key_ring(settings.keys, make=False).credentials
    stores = (Credentials(database, keys), WebhookRepository(database, keys))
    credentials, webhooks = await rotate_keys(database, stores, SystemClock().now(), COMMAND_LINE)
    return credentials, webhooks


async def make_operator_token(database: Database, label: str) -> str:
    """Create an operator_ token and return its text. The schema is created first: the database may be empty."""
    await SchemaMigrator(database).apply_migrations()
    return await create_operator_token(database, SystemClock(), secrets.token_bytes, label)


async def check_token(settings: Settings, database: Database, text: str, *, revoke: bool) -> FoundToken:
    """Examine a token. With `revoke`, revoke it if this relay issued it. The result does not contain its text."""
    if text.startswith(PREFIX):
        return await _check_install_token(settings, database, text)
    kind = kind_of_token(text)
    if kind is None:
        return FoundToken(
            None, False, "unknown", "This is no token of a push relay: its form or its checksum is wrong."
        )
    tokens = _tokens(database)
    token = await tokens.find_token(text)
    if token is None:
        return FoundToken(
            kind,
            False,
            "unknown",
            f"It has the form and the checksum of a {kind}_ token, but this relay did not make it.",
        )
    revoked = revoke and await tokens.revoke_token(token.token_id, COMMAND_LINE)
    return FoundToken(
        kind,
        True,
        state_of(token, SystemClock().now()),
        f"It has the form and the checksum of a {kind}_ token.",
        token,
        revoked_now=revoked,
    )


async def _check_install_token(settings: Settings, database: Database, text: str) -> FoundToken:
    claims = InstallTokens(key_ring(settings.keys, make=False).installations).verify_token(text)
    if claims is None:
        return FoundToken(
            "install",
            False,
            "unknown",
            "This has the form of an install_ token, but no key in keys.installations signed it.",
        )
    active = await InstallationRepository(database).find_installation(*claims) is not None
    description = (
        f"This is the install_ token of installation {claims.installation_uuid} of app {claims.app_id}. "
        + ("It is active; to end it, retire the installation." if active else "It does not hold any more.")
    )
    return FoundToken(
        "install",
        True,
        "active" if active else "retired",
        description,
        installation_uuid=claims.installation_uuid,
        app_id=claims.app_id,
    )


async def list_tokens(database: Database, token_filter: TokenFilter) -> list[TokenDescription]:
    """Return the tokens that match `token_filter`, oldest first."""
    repository = _tokens(database)
    tokens: list[TokenDescription] = []
    after: UUID | None = None
    while page := await repository.list_tokens(token_filter, after, _PAGE_SIZE):
        tokens += page
        after = page[-1].token_id
    return tokens


async def revoke_tokens(database: Database, token_ids: list[UUID]) -> dict[UUID, bool]:
    """Revoke tokens of any kind. Returns, by id, whether the token existed and was not revoked before."""
    tokens = _tokens(database)
    return {token_id: await tokens.revoke_token(token_id, COMMAND_LINE) for token_id in token_ids}


def state_of(token: TokenDescription, now: datetime) -> str:
    """Return "active", or since when the token is revoked or expired."""
    if token.revoked_at is not None:
        return f"revoked since {token.revoked_at}"
    if token.expires_at is not None and token.expires_at <= now:
        return f"expired since {token.expires_at}"
    return "active"


def _tokens(database: Database) -> ApiTokenRepository:
    return ApiTokenRepository(database, SystemClock(), secrets.token_bytes)
