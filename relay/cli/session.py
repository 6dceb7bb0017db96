"""The surroundings of a command: its settings and their database, or a client of a running relay.

Most imports happen in the functions: they take long, and `push-relay --help` needs none of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from relay.cli.output import show

if TYPE_CHECKING:
    from relay.cli.operator_client import OperatorClient
    from relay.settings import Settings
    from relay.store.database import Database

T = TypeVar("T")


# --- on the relay's machine ---


def load_settings(config_file: Path | None, *, log: str | None = None) -> Settings:
    """Return the settings, and set logging up as they say or from the level `log` on. Raises SettingsError."""
    from relay.settings import load
    from relay.telemetry.logs import log_to_stderr

    settings = load(config_file, os.environ)
    log_to_stderr(log or settings.log, settings.log_format)
    return settings


def with_database(config_file: Path | None, work: Callable[[Settings, Database], Awaitable[T]]) -> T:
    """Return the result of `work` with the database of the settings. Running relays are not disturbed.

    Raises:
        SettingsError: the settings cannot be read.
        Unavailable: the database does not exist or does not answer.
    """
    import uvloop

    settings = load_settings(config_file, log="warning")

    async def session() -> T:
        from relay.node.database import open_database

        require_database(settings)
        async with AsyncExitStack() as stack:
            return await work(settings, await open_database(settings, stack))

    return uvloop.run(session())


def require_database(settings: Settings) -> None:
    """Raise Unavailable if the embedded database does not exist yet: opening it would create an empty one."""
    from relay.core.errors import Unavailable

    if not settings.database.url and not (Path(settings.database.embedded) / "PG_VERSION").exists():
        raise Unavailable(
            f"There is no database in {settings.database.embedded} yet: push-relay serve makes it."
        )


# --- over the API ---


def read_token(token_file: Path | None) -> str:
    """Return the API token. No command takes it as an argument, where every process of the machine could read it.

    Raises:
        OperatorError: there is no token, or it cannot be read.
    """
    from relay.cli.operator_client import OperatorError

    try:
        if token_file == Path("-"):
            text = sys.stdin.readline()
        else:
            text = token_file.read_text("utf-8") if token_file else os.environ.get("PUSH_RELAY_TOKEN", "")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"The token file cannot be read: {type(error).__name__}.") from None
    token = text.strip()
    if not token:
        raise OperatorError("No API token: set PUSH_RELAY_TOKEN, or give --token-file.")
    if not (token.isascii() and token.isprintable()):
        raise OperatorError("The API token has characters that no token has.")
    return token


def run_with_client(url: str, token_file: Path | None, work: Callable[[OperatorClient], Awaitable[T]]) -> T:
    """Return the result of `work` with a client. An OperatorError ends the command with its text and code 1."""
    from relay.cli.operator_client import OperatorClient, OperatorError

    async def session() -> T:
        async with OperatorClient(url, read_token(token_file)) as client:
            return await work(client)

    try:
        return asyncio.run(session())
    except OperatorError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def present_fields(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None: the options that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def call_and_show(
    url: str, token_file: Path | None, as_json: bool, method: str, path: str, body: Any = None
) -> None:
    """Send one request and print its answer."""
    show(run_with_client(url, token_file, lambda client: client.call(method, path, body)), as_json)


def list_and_show(url: str, token_file: Path | None, as_json: bool, path: str) -> None:
    """Print all items of a list."""

    async def work(client: OperatorClient) -> list[dict[str, Any]]:
        return [item async for item in client.list_items(path)]

    show(run_with_client(url, token_file, work), as_json)
