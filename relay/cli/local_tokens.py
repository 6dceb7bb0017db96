"""What the commands about tokens and keys do with settings and database. They go well beside a running relay."""

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
from relay.store.installations.installations import Installations
from relay.store.key_rotation import Rotation, rotate_keys
from relay.store.migrations import SchemaMigrator
from relay.store.operations.audit import COMMAND_LINE
from relay.store.webhooks.webhooks import WebhookRepository

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class FoundToken:
    """What is known of a token that somebody found. `what`: in a sentence; `revoked_now`: by this very command.

    `known`: it is one of this relay's. `token` is what is stored of an API token, `installation_uuid` and `app_id` say
    whose an install_ token is.
    """

    kind: str | None
    known: bool
    state: str
    what: str
    token: TokenDescription | None = None
    installation_uuid: UUID | None = None
    app_id: str | None = None
    revoked_now: bool = False


async def reencrypt(settings: Settings, database: Database) -> tuple[Rotation, Rotation]:
    """Encrypt all that is encrypted at rest with the newest key of keys.credentials.

    How many secrets of credentials, and of webhooks, there are and were encrypted anew. Raises Conflict if none of the
    keys opens one: nothing is changed then.
    """
    keys = key_ring(settings.keys, make=False).credentials
    stores = (Credentials(database, keys), WebhookRepository(database, keys))
    of_apple, of_webhooks = await rotate_keys(database, stores, SystemClock().now(), COMMAND_LINE)
    return of_apple, of_webhooks


async def make_operator_token(database: Database, label: str) -> str:
    """A new operator_ token. The schema is made first: this may be the first that is done with a database."""
    await SchemaMigrator(database).apply_migrations()
    return await create_operator_token(database, SystemClock(), secrets.token_bytes, label)


async def check_token(settings: Settings, database: Database, text: str, *, revoke: bool) -> FoundToken:
    """What a token is that somebody found, never the token itself. It is revoked if asked, and if it is ours."""
    if text.startswith(PREFIX):
        return await _install_token(settings, database, text)
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


async def _install_token(settings: Settings, database: Database, text: str) -> FoundToken:
    claims = InstallTokens(key_ring(settings.keys, make=False).installations).verify(text)
    if claims is None:
        return FoundToken(
            "install",
            False,
            "unknown",
            "This has the form of an install_ token, but no key in keys.installations signed it.",
        )
    active = await Installations(database).find(*claims) is not None
    what = (
        f"This is the install_ token of installation {claims.installation_uuid} of app {claims.app_id}. "
        + ("It is active; to end it, retire the installation." if active else "It does not hold any more.")
    )
    return FoundToken(
        "install",
        True,
        "active" if active else "retired",
        what,
        installation_uuid=claims.installation_uuid,
        app_id=claims.app_id,
    )


async def list_tokens(database: Database, wanted: TokenFilter) -> list[TokenDescription]:
    """All tokens that are wanted, oldest first."""
    tokens = _tokens(database)
    found: list[TokenDescription] = []
    after: UUID | None = None
    while page := await tokens.list_tokens(wanted, after, _PAGE):
        found += page
        after = page[-1].token_id
    return found


async def revoke_tokens(database: Database, token_ids: list[UUID]) -> dict[UUID, bool]:
    """Revoke tokens of any kind, by their ids. By id, whether it was there and not revoked before."""
    tokens = _tokens(database)
    return {token_id: await tokens.revoke_token(token_id, COMMAND_LINE) for token_id in token_ids}


def state_of(token: TokenDescription, now: datetime) -> str:
    """Whether it holds: "active", or since when not."""
    if token.revoked_at is not None:
        return f"revoked since {token.revoked_at}"
    if token.expires_at is not None and token.expires_at <= now:
        return f"expired since {token.expires_at}"
    return "active"


def _tokens(database: Database) -> ApiTokenRepository:
    return ApiTokenRepository(database, SystemClock(), secrets.token_bytes)
