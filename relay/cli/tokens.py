"""`push-relay tokens`: commands on API tokens of all kinds."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from relay.cli.options import LOCAL_PANEL, ConfigFile, Json
from relay.cli.output import show, show_json, show_table
from relay.cli.session import load_settings, with_database
from relay.core.accounts import TokenKind

if TYPE_CHECKING:
    from relay.cli.local import FoundToken
    from relay.settings import Settings
    from relay.store.accounts.api_tokens import TokenDescription
    from relay.store.database import Database

token_app = typer.Typer(no_args_is_help=True, help="Create, list, check and revoke API tokens.")


@token_app.command("list")
def list_tokens(
    kind: Annotated[TokenKind | None, typer.Option("--kind", help="Only this kind.")] = None,
    app_id: Annotated[str | None, typer.Option("--app", help="Only push tokens of this app.")] = None,
    publisher: Annotated[
        UUID | None, typer.Option("--publisher", help="Only tokens of this publisher.")
    ] = None,
    unused_days: Annotated[
        int | None, typer.Option("--unused-days", min=1, help="Only tokens not used for this many days.")
    ] = None,
    revoked: Annotated[bool, typer.Option("--revoked", help="Include revoked tokens.")] = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List tokens with their owners and their last use, accurate to about a minute."""
    from relay.cli import local
    from relay.node.clock import SystemClock
    from relay.store.accounts.api_tokens import TokenFilter

    now = SystemClock().now()
    token_filter = TokenFilter(
        kind=kind,
        app_id=app_id,
        publisher_id=publisher,
        revoked=revoked,
        unused_since=None if unused_days is None else now - timedelta(days=unused_days),
    )

    async def work(_: Settings, database: Database) -> list[TokenDescription]:
        return await local.list_tokens(database, token_filter)

    tokens = with_database(config_file, work)
    if as_json:
        show_json(tokens)
        return
    rows = [
        (
            token.token_id,
            token.kind,
            token.app_id or token.publisher_id or "",
            token.label,
            " ".join(
                right
                for right, has in (("test-only", token.test_only), ("broadcast", token.broadcast))
                if has and token.kind == TokenKind.PUSH
            ),
            local.state_of(token, now),
            token.last_used_at or "never",
        )
        for token in tokens
    ]
    names = ("id", "kind", "app or publisher", "label", "rights", "state", "last used")
    show_table(f"Tokens: {len(tokens)}", names if rows else (), rows)


@token_app.command("revoke")
def revoke_tokens(
    token_ids: Annotated[list[UUID], typer.Argument(help="Ids of tokens, as `tokens list` shows them.")],
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Revoke tokens of any kind.

    Running relays refuse them within two seconds. Ends with 1 if one of them does not exist or was revoked before.
    """
    from relay.cli import local

    async def work(_: Settings, database: Database) -> dict[UUID, bool]:
        return await local.revoke_tokens(database, token_ids)

    revoked_by_id = with_database(config_file, work)
    if as_json:
        show_json([{"id": token_id, "revoked": revoked} for token_id, revoked in revoked_by_id.items()])
    else:
        for token_id, revoked in revoked_by_id.items():
            typer.echo(f"{token_id}  {'revoked' if revoked else 'there is none, or it was revoked before'}")
    if not all(revoked_by_id.values()):
        raise typer.Exit(1)


@token_app.command("check")
def check_token(
    config_file: ConfigFile = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke it if this relay issued it.")] = False,
    as_json: Json = False,
) -> None:
    """Examine a found token. It is read from standard input: no shell keeps it in its history."""
    from getpass import getpass

    from relay.cli import local

    text = (getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()

    async def work(settings: Settings, database: Database) -> FoundToken:
        return await local.check_token(settings, database, text, revoke=revoke)

    found = with_database(config_file, work)
    if as_json:
        show_json(found)
    else:
        typer.echo(found.what, err=not found.known)
        if found.token is not None:
            show(_described(found.token, found.state), as_json=False)
            if revoke:
                now_revoked = "It is revoked now; running relays refuse it within two seconds."
                typer.echo(now_revoked if found.revoked_now else "It was revoked before.")
    if not found.known:
        raise typer.Exit(1)


@token_app.command("create-operator")
def create_operator_token(
    config_file: ConfigFile = None,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "",
    as_json: Json = False,
) -> None:
    """Create an operator_ token and print it. It is not shown again."""
    import uvloop

    text = uvloop.run(_create(load_settings(config_file, log="warning"), label))
    if as_json:
        show_json({"operator_token": text})
    else:
        typer.echo(text)


async def _create(settings: Settings, label: str) -> str:
    """Create a token. Unlike `with_database`, this creates a database that does not exist yet."""
    from contextlib import AsyncExitStack

    from relay.cli import local
    from relay.node.database import open_database

    async with AsyncExitStack() as stack:
        return await local.make_operator_token(await open_database(settings, stack), label)


def _described(token: TokenDescription, state: str) -> dict[str, Any]:
    return {
        "state": state,
        "id": token.token_id,
        "label": token.label,
        "publisher": token.publisher_id,
        "app": token.app_id,
        "test only": "yes" if token.test_only else "no",
        "broadcast": "yes" if token.broadcast else "no",
        "created": token.created_at,
        "expires": token.expires_at or "never",
        "last used": token.last_used_at or "never",
    }


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`, also under their hidden names of 0.1."""
    app.add_typer(token_app, name="tokens", rich_help_panel=LOCAL_PANEL)
    app.command("operator-token", hidden=True)(create_operator_token)
    app.command("token-check", hidden=True)(check_token)
