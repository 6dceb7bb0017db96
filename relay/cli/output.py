"""The output of commands: fields, tables, JSON and progress bars."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


def show(result: Any, as_json: bool) -> None:
    """Print an answer of the API: a list as a table, an object as its fields, None not at all. Or all as JSON."""
    if as_json:
        typer.echo(json.dumps(result))
    elif isinstance(result, dict):
        width = max(map(len, result))
        for name, value in result.items():
            typer.echo(f"{name.ljust(width)}  {_text(value)}")
    elif result:
        from rich.console import Console
        from rich.table import Table

        table = Table(*result[0])
        for item in result:
            table.add_row(*map(_text, item.values()))
        Console(soft_wrap=True, markup=False).print(table)  # callers chose the names and labels in it
    elif result is not None:
        typer.echo("There are none.")


def show_json(value: Any) -> None:
    """Print `value` as a line of JSON. Dataclasses and named tuples become objects, times and ids strings."""
    import msgspec

    typer.echo(msgspec.json.encode(_as_objects(value)).decode())


def _as_objects(value: Any) -> Any:
    """Replace named tuples by dictionaries: msgspec would encode them as arrays."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_objects(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _as_objects(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _as_objects(item) for name, item in value.items()}
    return [_as_objects(item) for item in value] if isinstance(value, list | tuple) else value


def show_table(title: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table below its title; without `names`, the title alone.

    Nothing in it is read as mark-up: callers of the API chose some of the text.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, markup=False)
    console.print(title, style="bold")
    if names:
        table = Table(*names, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(_text, row))
        console.print(table)
    console.print()


def progress(before: str, after: str = "") -> Progress:
    """Return a progress bar for standard error, which draws nothing where that is no terminal.

    `before` and `after` are rich's templates of the texts around the bar. The bar ends with the remaining time or,
    with `after`, the elapsed time.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    end = (TextColumn(after), TimeElapsedColumn()) if after else (TimeRemainingColumn(),)
    console = Console(stderr=True)
    return Progress(
        TextColumn(before),
        BarColumn(),
        MofNCompleteColumn(),
        *end,
        console=console,
        disable=not console.is_terminal,
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)
