"""Options that several commands share, and the parts of the help that list the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8080"

RUN_PANEL = "Run"
LOCAL_PANEL = "On the relay's machine: settings and database"
"""Commands that read the settings and open their database."""
API_PANEL = "Over the API: a token"
"""Commands that send requests to a running relay."""

Url = Annotated[
    str, typer.Option("--url", envvar="PUSH_RELAY_URL", help="URL of the relay.", show_default=True)
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help='File with the API token; "-" reads standard input. Default: the variable PUSH_RELAY_TOKEN.',
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AppId = Annotated[str, typer.Option("--app", help="App identifier.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done without doing it.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="PUSH_RELAY_CONFIG", help="Settings file (YAML).", dir_okay=False, exists=True
    ),
]
