"""The operator's commands that need the settings and the database, not a running relay; they go well beside one."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from datetime import datetime
from typing import NoReturn

import typer

from relay.app import SystemClock, open_database
from relay.config import Settings, key_ring
from relay.core.install_tokens import PREFIX, InstallTokens
from relay.store.api_tokens import RecognisedToken, TokenIssuer
from relay.store.audit import COMMAND_LINE
from relay.store.auth import kind_of
from relay.store.credentials import Credentials
from relay.store.installations import Installations


async def rotate_credential_key(settings: Settings) -> None:
    """Encrypt every stored credential with the newest key of keys.credentials, and say how many."""
    keys = key_ring(settings.keys)
    async with AsyncExitStack() as stack:
        credentials = Credentials(await open_database(settings, stack), keys.credentials)
        rotation = await credentials.rotate_key(SystemClock().now(), COMMAND_LINE)
    typer.echo(
        f"{rotation.anew} of {rotation.stored} credentials were encrypted anew; "
        "all are under the newest key of keys.credentials."
    )


async def check_token(settings: Settings, text: str, *, revoke: bool) -> None:
    """Say what a token that somebody found is, never the token; revoke it if asked.

    Ends with exit code 1 if it is none of this relay's.
    """
    if text.startswith(PREFIX):
        await _check_install_token(settings, text)
        return
    kind = kind_of(text)
    if kind is None:
        _refuse("This is no token of a push relay: its form or its checksum is wrong.")
    typer.echo(f"It has the form and the checksum of a {kind}_ token.")
    async with AsyncExitStack() as stack:
        issuer = TokenIssuer(await open_database(settings, stack), SystemClock(), secrets.token_bytes)
        token = await issuer.recognise(text)
        if token is None:
            _refuse("This relay did not make it.")
        for name, value in _description(token, SystemClock().now()).items():
            typer.echo(f"{name.ljust(12)}  {value}")
        if revoke:
            now_revoked = await issuer.revoke_any(token.token_id, COMMAND_LINE)
            typer.echo(
                "It is revoked now; running relays refuse it within two seconds."
                if now_revoked
                else "It was revoked before."
            )


async def _check_install_token(settings: Settings, text: str) -> None:
    claims = InstallTokens(key_ring(settings.keys).installations).verify(text)
    if claims is None:
        _refuse("This has the form of an install_ token, but no key in keys.installations signed it.")
    async with AsyncExitStack() as stack:
        database = await open_database(settings, stack)
        active = await Installations(database).find(*claims) is not None
    typer.echo(
        f"This is the install_ token of installation {claims.installation_uuid} of app {claims.app_id}. "
        + ("It is active; to end it, retire the installation." if active else "It does not hold any more.")
    )


def _description(token: RecognisedToken, now: datetime) -> dict[str, object]:
    state = "active"
    if token.revoked_at is not None:
        state = f"revoked since {token.revoked_at}"
    elif token.expires_at is not None and token.expires_at <= now:
        state = f"expired since {token.expires_at}"
    return {
        "state": state,
        "id": token.token_id,
        "label": token.label,
        "publisher": token.publisher_id or "",
        "app": token.app_id or "",
        "test only": "yes" if token.test_only else "no",
        "created": token.created_at,
        "expires": token.expires_at or "never",
        "last used": token.last_used_at or "never",
    }


def _refuse(why: str) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(1)
