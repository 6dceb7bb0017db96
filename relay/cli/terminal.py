"""What the commands share: their common options, the token of those that talk to a relay, and how answers are shown."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.table import Table

from relay.cli.operator_client import AdminClient, AdminError

T = TypeVar("T")

Url = Annotated[
    str, typer.Option("--url", envvar="PUSH_RELAY_URL", help="Where the relay listens.", show_default=True)
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help='A file that holds the API token ("-": standard input); else PUSH_RELAY_TOKEN is used.',
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AppId = Annotated[str, typer.Option("--app", help="The app identifier.")]

URL = "http://127.0.0.1:8080"
OVER_API = "Over the API: a token"
"""The part of the help in which the commands are listed that talk to a running relay."""


def read_token(token_file: Path | None) -> str:
    """The API token, which no command takes as an argument: all processes could see it there. Raises AdminError."""
    try:
        if token_file == Path("-"):
            text = sys.stdin.readline()
        else:
            text = token_file.read_text("utf-8") if token_file else os.environ.get("PUSH_RELAY_TOKEN", "")
    except (OSError, UnicodeDecodeError) as error:
        raise AdminError(f"The token file cannot be read: {type(error).__name__}.") from None
    token = text.strip()
    if not token:
        raise AdminError("No API token: set PUSH_RELAY_TOKEN, or give --token-file.")
    if not (token.isascii() and token.isprintable()):
        raise AdminError("The API token has characters that no token has.")
    return token


def run_with_client(url: str, token_file: Path | None, work: Callable[[AdminClient], Awaitable[T]]) -> T:
    """Do `work` with a client; a refusal ends the command with its text and exit code 1."""

    async def session() -> T:
        async with AdminClient(url, read_token(token_file)) as client:
            return await work(client)

    try:
        return asyncio.run(session())
    except AdminError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def given(**fields: Any) -> dict[str, Any]:
    """The fields of a request's body that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def call(url: str, token_file: Path | None, as_json: bool, method: str, path: str, body: Any = None) -> None:
    """One request, and its answer shown."""
    show(run_with_client(url, token_file, lambda client: client.call(method, path, body)), as_json)


def list_all(url: str, token_file: Path | None, as_json: bool, path: str) -> None:
    """All items of a list, shown."""

    async def work(client: AdminClient) -> list[dict[str, Any]]:
        return [item async for item in client.every(path)]

    show(run_with_client(url, token_file, work), as_json)


def show(result: Any, as_json: bool) -> None:
    """A table of a list, the fields of one thing, or nothing; all of it as JSON if asked."""
    if as_json:
        typer.echo(json.dumps(result))
    elif isinstance(result, dict):
        width = max(map(len, result))
        for name, value in result.items():
            typer.echo(f"{name.ljust(width)}  {_text(value)}")
    elif result:
        table = Table(*result[0])
        for item in result:
            table.add_row(*map(_text, item.values()))
        Console(soft_wrap=True, markup=False).print(table)  # names and labels are other people's text
    elif result is not None:
        typer.echo("There are none.")


def show_json(value: Any) -> None:
    """Dataclasses, named tuples, times, ids and what holds them, as one line of JSON. What has names is an object."""
    typer.echo(msgspec.json.encode(_named(value)).decode())


def _named(value: Any) -> Any:
    """The same, with dictionaries for named tuples: msgspec would make lists of them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _named(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _named(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _named(item) for name, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list | tuple) else value


def show_table(title: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table under its title. What is in it may be other people's text: nothing of it is mark-up.

    Without `names` there is the title alone.
    """
    console = Console(soft_wrap=True, markup=False)
    console.print(title, style="bold")
    if names:
        table = Table(*names, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(_text, row))
        console.print(table)
    console.print()


def progress(*columns: ProgressColumn) -> Progress:
    """How far long work is, on standard error. Nothing is drawn where that is no terminal."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
